{{- define "xdp-otel.sidecarEnv" -}}
{{- $sidecar := .Values.sidecar -}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: K8S_NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: K8S_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: K8S_POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "xdp-otel.resourceAttributes" . | quote }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ include "xdp-otel.endpoint" . | quote }}
{{- if .Values.tls.enabled }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /etc/xdp-otel/tls/ca.crt
- name: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE
  value: /etc/xdp-otel/tls/tls.crt
- name: OTEL_EXPORTER_OTLP_CLIENT_KEY
  value: /etc/xdp-otel/tls/tls.key
{{- end }}
- name: XDP_OTEL_STATE_DIR
  value: {{ include "xdp-otel.stateDir" . }}
- name: XDP_OTEL_STATUS_ADDRESS
  value: "[$(POD_IP)]:{{ .Values.ports.status }}"  # as IPv6 wants it, and IPv4 takes it
- name: XDP_OTEL_BASE_POINT
  value: {{ and (eq $sidecar.temporality "delta") (or (ne .Values.collector.mode "none") .Values.collector.basePoint) | quote }}
{{- if ne $sidecar.temporality "delta" }}
- name: OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE
  value: {{ $sidecar.temporality }}
{{- end }}
- name: XDP_OTEL_SELF_METRICS
  value: {{ $sidecar.selfMetrics | quote }}
{{- with $sidecar.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "xdp-otel.resourceAttributes" -}}
{{- $pairs := list
  "host.name=$(K8S_NODE_NAME)"
  "k8s.node.name=$(K8S_NODE_NAME)"
  "k8s.pod.name=$(K8S_POD_NAME)"
  "k8s.pod.uid=$(K8S_POD_UID)"
  (printf "k8s.namespace.name=%s" (include "xdp-otel.namespace" .))
  (printf "k8s.daemonset.name=%s" (include "xdp-otel.fullname" .)) }}
{{- with .Values.clusterName }}
{{- $pairs = append $pairs (printf "k8s.cluster.name=%s" (urlquery . | replace "+" "%20")) }}
{{- end }}
{{- range $key, $value := .Values.sidecar.resourceAttributes }}
{{- $pairs = append $pairs (printf "%s=%s" $key (toString $value | urlquery | replace "+" "%20")) }}
{{- end }}
{{- join "," $pairs }}
{{- end }}

{{- define "xdp-otel.endpoint" -}}
{{- $scheme := ternary "https" "http" .Values.tls.enabled }}
{{- if eq .Values.collector.mode "none" }}
{{- .Values.collector.endpoint }}
{{- else if eq .Values.collector.mode "gateway" }}
{{- printf "%s://%s-gateway.%s.svc:%v" $scheme (include "xdp-otel.fullname" .) (include "xdp-otel.namespace" .) .Values.ports.otlp }}
{{- else }}
{{- printf "%s://localhost:%v" $scheme .Values.ports.otlp }}
{{- end }}
{{- end }}

{{- define "xdp-otel.sidecarMounts" -}}
- {name: bpffs, mountPath: /sys/fs/bpf, mountPropagation: HostToContainer}
- {name: state, mountPath: {{ include "xdp-otel.stateDir" . }}}
{{- if .Values.sidecar.config }}
- {name: config, mountPath: /etc/xdp-otel/config.yaml, subPath: config.yaml, readOnly: true}
{{- end }}
{{- if .Values.tls.enabled }}
- {name: tls-client, mountPath: /etc/xdp-otel/tls, readOnly: true}
{{- end }}
{{- with .Values.sidecar.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Where pods go: the values of a component. */ -}}
{{- define "xdp-otel.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
