{{- /* A file of rules as text, with the URL of the runbook: (list $ file). */ -}}
{{- define "xdp-otel.rules" -}}
{{- $root := index . 0 -}}
{{- $text := toString (index . 1) -}}
{{- with $root.Values.alerts.runbookUrl -}}
{{- $text = regexReplaceAll "(runbook_url: )[^#\n]*#" $text (printf "${1}%s#" .) -}}
{{- end -}}
{{- $text -}}
{{- end -}}
