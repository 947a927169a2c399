{{- /* What an operator's Prometheus scrapes: (list port job monitor honorLabels). The jobs are those the alerts name. */ -}}
{{- define "xdp-otel.endpoint-of" -}}
- port: {{ index . 0 }}
  interval: {{ (index . 2).interval }}
  {{- with (index . 2).scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- if index . 3 }}
  honorLabels: true
  {{- end }}
  relabelings:
    - {targetLabel: job, replacement: {{ index . 1 }}}
    {{- with (index . 2).relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with (index . 2).metricRelabelings }}
  metricRelabelings: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "xdp-otel.endpoints" -}}
{{- $ := index . 0 }}
{{- $monitor := index . 1 }}
{{- $mode := $.Values.collector.mode }}
{{- if eq $mode "none" }}
{{ include "xdp-otel.endpoint-of" (list "status" "xdp" $monitor false) }}
{{- else }}
{{- if ne $mode "agent" }}
{{ include "xdp-otel.endpoint-of" (list "metrics" "xdp" $monitor true) }}
{{- end }}
{{ include "xdp-otel.endpoint-of" (list "telemetry" "otel-collector" $monitor false) }}
{{- end }}
{{- end }}

{{- /* The metadata of an object of the operator: (list $ values). */ -}}
{{- define "xdp-otel.operatorMetadata" -}}
{{- $ := index . 0 -}}
name: {{ include "xdp-otel.fullname" $ }}
namespace: {{ (index . 1).namespace | default (include "xdp-otel.namespace" $) }}
labels:
  {{- include "xdp-otel.labels" (list $ "sidecar") | nindent 2 }}
  {{- toYaml (index . 1).labels | nindent 2 }}
{{- end }}

{{- /* What both kinds of monitor have in common: (list $ monitor). */ -}}
{{- define "xdp-otel.monitored" -}}
{{- $ := index . 0 -}}
selector:
  matchLabels:
    app.kubernetes.io/name: {{ include "xdp-otel.name" $ }}
    app.kubernetes.io/instance: {{ $.Release.Name }}
  matchExpressions:
    - {key: app.kubernetes.io/component, operator: In, values: [sidecar, gateway]}
{{- if (index . 1).namespace }}
namespaceSelector: {matchNames: [{{ include "xdp-otel.namespace" $ }}]}
{{- end }}
{{- with (index . 1).sampleLimit }}
sampleLimit: {{ int64 . }}
{{- end }}
{{- end }}

{{- /* Every pod of a headless Service, in clusters of either IP version: (list name port). */ -}}
{{- define "xdp-otel.pods" -}}
- {names: [{{ index . 0 }}], type: A, port: {{ index . 1 }}, refresh_interval: 10s}
- {names: [{{ index . 0 }}], type: AAAA, port: {{ index . 1 }}, refresh_interval: 10s}
{{- end }}
