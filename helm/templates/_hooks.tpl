{{- /* Metadata of an object of a hook: (list $ "component" "event" weight "policies"). */ -}}
{{- define "xdp-otel.hook" -}}
{{- $ := index . 0 -}}
name: {{ include "xdp-otel.fullname" $ }}-{{ index . 1 }}
namespace: {{ include "xdp-otel.namespace" $ }}
labels: {{- include "xdp-otel.labels" (list $ (index . 1)) | nindent 2 }}
annotations:
  helm.sh/hook: {{ index . 2 }}
  helm.sh/hook-weight: {{ index . 3 | quote }}
  helm.sh/hook-delete-policy: {{ index . 4 }}
  helm.sh/hook-output-log-policy: hook-failed
{{- end }}

{{- /* A comma-separated selector of a component's pods: (list $ "component"). */ -}}
{{- define "xdp-otel.query" -}}
{{- $pairs := list }}
{{- range $key, $value := include "xdp-otel.selector" . | fromYaml }}
{{- $pairs = append $pairs (printf "%s=%s" $key $value) }}
{{- end }}
{{- join "," $pairs }}
{{- end }}

{{- /*
What the pod of a hook needs beside itself, gone when it has succeeded: (list $ "component" "event" rules).
Its policy lets it reach the API server, also where a policy of the namespace lets nothing through.
*/ -}}
{{- define "xdp-otel.hookRights" -}}
{{- $ := index . 0 }}
{{- $component := index . 1 }}
{{- $name := printf "%s-%s" (include "xdp-otel.fullname" $) $component }}
{{- $metadata := include "xdp-otel.hook" (list $ $component (index . 2) 0 "before-hook-creation,hook-succeeded") }}
apiVersion: v1
kind: ServiceAccount
metadata: {{- $metadata | nindent 2 }}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{- $metadata | nindent 2 }}
rules: {{- index . 3 | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{- $metadata | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - {kind: ServiceAccount, name: {{ $name }}, namespace: {{ include "xdp-otel.namespace" $ }}}
{{- if $.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{- $metadata | nindent 2 }}
spec:
  podSelector:
    matchLabels: {{- include "xdp-otel.selector" (list $ $component) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress: []
  egress:
    - ports:
        {{- range $.Values.networkPolicy.apiServerPorts }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
    {{- if eq $component "test" }}
    {{- include "xdp-otel.toDns" $ | nindent 4 }}
    - ports:
        - {port: {{ $.Values.ports.status }}, protocol: TCP}
        - {port: {{ $.Values.ports.telemetry }}, protocol: TCP}
        - {port: 9090, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}

{{- /* The specification of a hook's pod: (list $ "component" arguments). */ -}}
{{- define "xdp-otel.hookPod" -}}
{{- $ := index . 0 }}
{{- $component := index . 1 -}}
restartPolicy: Never
# So that the pod can be replaced although its node does not respond.
terminationGracePeriodSeconds: 0
serviceAccountName: {{ include "xdp-otel.fullname" $ }}-{{ $component }}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with $.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.hooks.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- include "xdp-otel.placement" $.Values.hooks }}
{{- with $.Values.hooks.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ $component }}
    image: {{ include "xdp-otel.image" (list $ $.Values.sidecar.image) }}
    imagePullPolicy: {{ $.Values.sidecar.image.pullPolicy }}
    command: {{- index . 2 | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    securityContext: {{- include "xdp-otel.hookSecurity" $ | nindent 6 }}
    resources: {{- toYaml $.Values.hooks.resources | nindent 6 }}
    volumeMounts:
      - {name: scripts, mountPath: /scripts, readOnly: true}
volumes:
  - name: scripts
    configMap: {name: {{ include "xdp-otel.fullname" $ }}-scripts}
{{- end }}

{{- define "xdp-otel.hookSecurity" -}}
{{- include "xdp-otel.over" (list (include "xdp-otel.noRights" .) .Values.hooks.securityContext) }}
{{- end }}

{{- define "xdp-otel.noRights" -}}
runAsNonRoot: true
runAsUser: 65532
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "xdp-otel.uninstallRules" -}}
{{- $name := include "xdp-otel.fullname" . -}}
- {apiGroups: [apps], resources: [daemonsets], resourceNames: [{{ $name }}], verbs: [delete]}
- {apiGroups: [apps], resources: [daemonsets], resourceNames: [{{ $name }}-detach], verbs: [get, delete]}
- {apiGroups: [""], resources: [pods, events], verbs: [list]}
{{- end }}

{{- define "xdp-otel.uninstallCommand" -}}
- python3
- /scripts/uninstall.py
- {{ include "xdp-otel.fullname" . }}
- {{ include "xdp-otel.fullname" . }}-detach
- {{ include "xdp-otel.query" (list . "detach") }}
- "240"
{{- end }}

{{- define "xdp-otel.testRules" -}}
- {apiGroups: [""], resources: [pods], verbs: [list]}
{{- end }}

{{- define "xdp-otel.testCommand" -}}
- python3
- /scripts/verify.py
- {{ include "xdp-otel.query" (list . "sidecar") }}
- --status={{ .Values.ports.status }}
- --fresh={{ add 60 (mul 2 (.Values.sidecar.interval | toString | float64 | ceil | int)) }}
{{- if eq .Values.collector.mode "agent" }}
- --queue={{ .Values.ports.telemetry }}
{{- end }}
{{- if .Values.prometheus.enabled }}
- --prometheus={{ include "xdp-otel.prometheusUrl" . }}
{{- end }}
{{- end }}
