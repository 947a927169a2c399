{{- /* What an operator's Prometheus scrapes: (list port job interval honorLabels). The jobs are those the alerts name. */ -}}
{{- define "xdp-otel.endpoint-of" -}}
- port: {{ index . 0 }}
  interval: {{ index . 2 }}
  {{- if index . 3 }}
  honorLabels: true
  {{- end }}
  relabelings:
    - {targetLabel: job, replacement: {{ index . 1 }}}
{{- end }}

{{- define "xdp-otel.endpoints" -}}
{{- $ := index . 0 }}
{{- $interval := index . 1 }}
{{- $mode := $.Values.collector.mode }}
{{- if eq $mode "none" }}
{{ include "xdp-otel.endpoint-of" (list "status" "xdp" $interval false) }}
{{- else }}
{{- if ne $mode "agent" }}
{{ include "xdp-otel.endpoint-of" (list "metrics" "xdp" $interval true) }}
{{- end }}
{{ include "xdp-otel.endpoint-of" (list "telemetry" "otel-collector" $interval false) }}
{{- end }}
{{- end }}

{{- define "xdp-otel.scraped" -}}
matchLabels:
  app.kubernetes.io/name: {{ include "xdp-otel.name" . }}
  app.kubernetes.io/instance: {{ .Release.Name }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [sidecar, gateway]}
{{- end }}

{{- /* Every pod of a headless Service, in clusters of either IP version: (list name port). */ -}}
{{- define "xdp-otel.pods" -}}
- {names: [{{ index . 0 }}], type: A, port: {{ index . 1 }}, refresh_interval: 10s}
- {names: [{{ index . 0 }}], type: AAAA, port: {{ index . 1 }}, refresh_interval: 10s}
{{- end }}
