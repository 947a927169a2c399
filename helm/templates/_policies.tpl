{{- /* Rules of `egress` that several policies share. */ -}}
{{- define "xdp-otel.toDns" }}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{- /* To pods of this release: (list $ "component" port). */ -}}
{{- define "xdp-otel.toComponent" }}
- to:
    - podSelector:
        matchLabels: {{- include "xdp-otel.selector" (list (index . 0) (index . 1)) | nindent 10 }}
  ports:
    - {port: {{ index . 2 }}, protocol: TCP}
{{- end }}

{{- /* Rules of the user's, in each policy; an empty rule lets everything through. */ -}}
{{- define "xdp-otel.extraEgress" }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
