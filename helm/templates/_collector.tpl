{{- /* Everything the Collectors are configured with: a change of it starts them anew. */ -}}
{{- define "xdp-otel.collectorConfig" -}}
{{- $mode := .Values.collector.mode }}
{{- if has $mode (list "sidecar" "gateway") }}
config.yaml: |
  {{- .Files.Get "collector/config.yaml" | nindent 2 }}
{{- else if eq $mode "agent" }}
agent.yaml: |
  {{- .Files.Get "collector/agent.yaml" | nindent 2 }}
gateway.yaml: |
  {{- .Files.Get "collector/gateway.yaml" | nindent 2 }}
{{- end }}
{{- if .Values.tls.enabled }}
tls.yaml: |
  {{- .Files.Get "collector/tls.yaml" | nindent 2 }}
{{- end }}
{{- with .Values.collector.extraConfig }}
extra.yaml: |
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.gateway.extraConfig }}
gateway-extra.yaml: |
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The container of any Collector: (dict "root" $ "file" "config.yaml" "extra" "extra.yaml" "values" …). */ -}}
{{- define "xdp-otel.collectorContainer" -}}
{{- $ := .root }}
{{- $collector := $.Values.collector -}}
- name: collector
  image: {{ include "xdp-otel.image" (list $ $collector.image) }}
  imagePullPolicy: {{ $collector.image.pullPolicy }}
  args:
    - --config=/etc/otelcol-xdp/{{ .file }}
    {{- if $.Values.tls.enabled }}
    - --config=/etc/otelcol-xdp/tls.yaml
    {{- end }}
    {{- if .values.extraConfig }}
    - --config=/etc/otelcol-xdp/{{ .extra }}
    {{- end }}
    {{- with $collector.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    - name: POD_IP
      valueFrom: {fieldRef: {fieldPath: status.podIP}}
    - name: GOMEMLIMIT
      value: {{ .values.memoryLimitMiB }}MiB
    - name: COLLECTOR_MEMORY_LIMIT_MIB
      value: {{ .values.memoryLimitMiB | quote }}
    - name: COLLECTOR_OTLP_ENDPOINT
      value: "{{ .listen }}:{{ $.Values.ports.otlp }}"
    - name: COLLECTOR_HEALTH_ENDPOINT
      value: "[$(POD_IP)]:{{ $.Values.ports.health }}"
    - name: COLLECTOR_TELEMETRY_HOST
      value: $(POD_IP)
    - name: COLLECTOR_TELEMETRY_PORT
      value: {{ $.Values.ports.telemetry | quote }}
    {{- if eq .file "config.yaml" }}
    - name: COLLECTOR_PROMETHEUS_ENDPOINT
      value: "[$(POD_IP)]:{{ $.Values.ports.metrics }}"
    {{- else if eq .file "agent.yaml" }}
    - name: COLLECTOR_GATEWAY_ENDPOINT
      value: {{ include "xdp-otel.fullname" $ }}-gateway-each.{{ include "xdp-otel.namespace" $ }}.svc:{{ $.Values.ports.otlp }}
    - name: COLLECTOR_STORAGE_DIR
      value: /var/lib/otelcol-xdp
    {{- if $.Values.tls.enabled }}
    - name: COLLECTOR_GATEWAY_SERVER_NAME
      value: {{ include "xdp-otel.fullname" $ }}-gateway.{{ include "xdp-otel.namespace" $ }}.svc
    - name: COLLECTOR_GATEWAY_CA_FILE
      value: /etc/otelcol-xdp-client/ca.crt
    - name: COLLECTOR_GATEWAY_CERT_FILE
      value: /etc/otelcol-xdp-client/tls.crt
    - name: COLLECTOR_GATEWAY_KEY_FILE
      value: /etc/otelcol-xdp-client/tls.key
    {{- else }}
    - name: COLLECTOR_GATEWAY_INSECURE
      value: "true"
    {{- end }}
    {{- else }}
    - name: COLLECTOR_REMOTE_WRITE_ENDPOINT
      value: {{ $.Values.gateway.remoteWrite.url | default (printf "%s/api/v1/write" (include "xdp-otel.prometheusUrl" $)) | quote }}
    {{- end }}
    {{- if $.Values.tls.enabled }}
    - name: COLLECTOR_TLS_CERT_FILE
      value: /etc/otelcol-xdp-server/tls.crt
    - name: COLLECTOR_TLS_KEY_FILE
      value: /etc/otelcol-xdp-server/tls.key
    - name: COLLECTOR_TLS_CLIENT_CA_FILE
      value: /etc/otelcol-xdp-server/ca.crt
    {{- end }}
    {{- with .values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .values.extraEnvFrom }}
  envFrom: {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - {name: otlp, containerPort: {{ $.Values.ports.otlp }}}
    {{- if eq .file "config.yaml" }}
    - {name: metrics, containerPort: {{ $.Values.ports.metrics }}}
    {{- end }}
    - {name: telemetry, containerPort: {{ $.Values.ports.telemetry }}}
    - {name: health, containerPort: {{ $.Values.ports.health }}}
  livenessProbe:
    httpGet: {path: /, port: health}
    initialDelaySeconds: 10
    periodSeconds: 20
    timeoutSeconds: 5
  readinessProbe:
    httpGet: {path: /, port: health}
    periodSeconds: 2
    timeoutSeconds: 5
  securityContext: {{- include "xdp-otel.over" (list (include "xdp-otel.collectorRights" .) .values.securityContext) | nindent 4 }}
  resources: {{- toYaml .values.resources | nindent 4 }}
  volumeMounts:
    - {name: collector-config, mountPath: /etc/otelcol-xdp, readOnly: true}
    {{- if eq .file "agent.yaml" }}
    - {name: queue, mountPath: /var/lib/otelcol-xdp}
    {{- end }}
    {{- if $.Values.tls.enabled }}
    - {name: tls-server, mountPath: /etc/otelcol-xdp-server, readOnly: true}
    {{- if eq .file "agent.yaml" }}
    - {name: tls-client, mountPath: /etc/otelcol-xdp-client, readOnly: true}
    {{- end }}
    {{- end }}
    {{- with .values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "xdp-otel.collectorRights" -}}
{{- if eq .file "agent.yaml" -}}
# The queue's directory on the node is root's.
runAsUser: 0
runAsGroup: 0
{{- else -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
{{- end }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
seccompProfile: {{- toYaml .root.Values.collector.seccompProfile | nindent 2 }}
{{- end }}

{{- define "xdp-otel.collectorBeside" -}}
{{- $file := ternary "agent.yaml" "config.yaml" (eq .Values.collector.mode "agent") }}
{{- include "xdp-otel.collectorContainer" (dict "root" . "file" $file "extra" "extra.yaml" "values" .Values.collector "listen" "localhost") }}
{{- end }}

{{- define "xdp-otel.serverSecret" -}}
{{- .Values.tls.serverSecret | default (printf "%s-tls-server" (include "xdp-otel.fullname" .)) }}
{{- end }}

{{- define "xdp-otel.clientSecret" -}}
{{- .Values.tls.clientSecret | default (printf "%s-tls-client" (include "xdp-otel.fullname" .)) }}
{{- end }}
