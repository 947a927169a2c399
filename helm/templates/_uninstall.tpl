{{- /* After all else is gone: one pod on each node, then a Job that waits for them; then these go too. */ -}}
{{- define "xdp-otel.leaving" -}}
name: {{ include "xdp-otel.fullname" (index . 0) }}-leave
labels: {{- include "xdp-otel.labels" (list (index . 0) "leave") | nindent 2 }}
annotations:
  helm.sh/hook: post-delete
  helm.sh/hook-weight: {{ index . 1 | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
