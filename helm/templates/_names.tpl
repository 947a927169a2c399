{{- define "xdp-otel.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "xdp-otel.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name }}
{{- $own := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- /* A release may have dots in its name, a Service may not. */ -}}
{{- .Values.fullnameOverride | default $own | replace "." "-" | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "xdp-otel.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "xdp-otel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "xdp-otel.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- /* Labels of an object: (list $ "component"). */ -}}
{{- define "xdp-otel.labels" -}}
{{- $ := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{ include "xdp-otel.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: xdp-otel
app.kubernetes.io/managed-by: {{ $.Release.Service }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Labels that select a component's pods: (list $ "component"). */ -}}
{{- define "xdp-otel.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ include "xdp-otel.name" $ }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* Labels of a component's pods, without any version: (list $ "component" podLabels). */ -}}
{{- define "xdp-otel.podLabels" -}}
{{- $ := index . 0 -}}
{{ include "xdp-otel.selector" . }}
{{- with merge (dict) (index . 2) $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /*
The full name of an image: (list $ image). A repository may begin with a registry, its own: that has a dot or a port, or
is localhost.
*/ -}}
{{- define "xdp-otel.image" -}}
{{- $ := index . 0 }}
{{- $image := index . 1 }}
{{- $own := regexFind "^(localhost|[^/]*[.:][^/]*)/" $image.repository }}
{{- $registry := $.Values.global.imageRegistry | default (trimSuffix "/" $own) | default $image.registry }}
{{- $name := list $registry (trimPrefix $own $image.repository) | compact | join "/" }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name ($image.tag | default $.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- /* The chart's own fields, with the user's over them: (list own overrides). */ -}}
{{- define "xdp-otel.over" -}}
{{- if index . 1 }}
{{- mergeOverwrite (index . 0 | fromYaml) (index . 1) | toYaml }}
{{- else }}
{{- index . 0 }}
{{- end }}
{{- end }}

{{- define "xdp-otel.stateDir" -}}
{{- .Values.sidecar.state.hostPath | default (printf "/var/lib/xdp-otel/%s-%s" (include "xdp-otel.namespace" .) (include "xdp-otel.fullname" .)) }}
{{- end }}

{{- define "xdp-otel.prometheusUrl" -}}
{{- printf "http://%s-prometheus.%s.svc:%v" (include "xdp-otel.fullname" .) (include "xdp-otel.namespace" .) .Values.prometheus.service.port }}
{{- end }}
