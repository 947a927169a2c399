{{- /* What is read, as the sources of a configuration file: {sources: [{interface: eth0}, …]}. */ -}}
{{- define "xdp-otel.sources" -}}
{{- $sidecar := .Values.sidecar }}
{{- if $sidecar.config }}
{{- toYaml $sidecar.config }}
{{- else }}
{{- $sources := $sidecar.maps }}
{{- range $sidecar.interfaces | default (ternary (list) (list "auto") (not (empty $sidecar.maps))) }}
{{- $sources = append $sources (dict "interface" .) }}
{{- end }}
{{- dict "sources" $sources | toYaml }}
{{- end }}
{{- end }}

{{- /* The names of the interfaces among them: {interfaces: [eth0, …]}. */ -}}
{{- define "xdp-otel.interfaces" -}}
{{- $names := list }}
{{- range (include "xdp-otel.sources" . | fromYaml).sources }}
{{- with .interface }}{{ $names = append $names . }}{{ end }}
{{- end }}
{{- dict "interfaces" ($names | uniq) | toYaml }}
{{- end }}

{{- define "xdp-otel.hostNetwork" -}}
{{- if kindIs "bool" .Values.sidecar.hostNetwork }}
{{- .Values.sidecar.hostNetwork }}
{{- else }}
{{- not (empty (include "xdp-otel.interfaces" . | fromYaml).interfaces) }}
{{- end }}
{{- end }}

{{- /* The capabilities that the sources need: {add: [BPF, …]}. */ -}}
{{- define "xdp-otel.capabilities" -}}
{{- $add := list }}
{{- range .Values.sidecar.capabilities }}
{{- $add = append $add (trimPrefix "CAP_" .) }}
{{- end }}
{{- if kindIs "invalid" .Values.sidecar.capabilities }}
{{- range (include "xdp-otel.sources" . | fromYaml).sources }}
{{- if .interface }}{{ $add = concat $add (list "BPF" "NET_ADMIN") }}
{{- else if .pin }}{{ $add = append $add "BPF" }}
{{- else }}{{ $add = append $add "SYS_ADMIN" }}
{{- end }}
{{- end }}
{{- end }}
{{- dict "add" ($add | uniq | sortAlpha) | toYaml }}
{{- end }}

{{- define "xdp-otel.sidecarSecurity" -}}
{{- include "xdp-otel.over" (list (include "xdp-otel.sidecarRights" .) .Values.sidecar.securityContext) }}
{{- end }}

{{- define "xdp-otel.sidecarRights" -}}
{{- $sidecar := .Values.sidecar -}}
# User 0 because Kubernetes gives added capabilities to nobody else; without them it is a user as any other.
runAsUser: 0
runAsGroup: 0
readOnlyRootFilesystem: true
{{- if $sidecar.privileged }}
privileged: true
{{- else }}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  {{- with (include "xdp-otel.capabilities" . | fromYaml).add }}
  add: {{- toYaml . | nindent 4 }}
  {{- end }}
seccompProfile: {{- toYaml $sidecar.seccompProfile | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The flags that name the sources. */ -}}
{{- define "xdp-otel.sourceArgs" -}}
{{- if .Values.sidecar.config -}}
- --config=/etc/xdp-otel/config.yaml
{{- else }}
{{- range (include "xdp-otel.sources" . | fromYaml).sources }}
{{- if .interface }}
- --interface={{ .interface }}
{{- else if .pin }}
- --map-path={{ .pin }}
{{- else if .name }}
- --map-name={{ .name }}
{{- else }}
- --map-id={{ .id | int64 }}
{{- end }}
{{- end }}
{{- range .Values.sidecar.excludeInterfaces }}
- --exclude-interface={{ . }}
{{- end }}
{{- end }}
{{- end }}
