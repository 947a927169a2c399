{{- /* What values.schema.json cannot say: values that do not go together. */ -}}
{{- define "xdp-otel.refuse" -}}
{{- $sidecar := .Values.sidecar }}
{{- if and $sidecar.config (or $sidecar.interfaces $sidecar.maps) }}
{{- fail "sidecar.config: interfaces or maps are set too: write them into config.sources" }}
{{- end }}
{{- range (include "xdp-otel.sources" . | fromYaml).sources }}
{{- if .netns }}
{{- fail (printf "sidecar.config: netns of %s: a pod is in the node's or its own: leave it out" .interface) }}
{{- end }}
{{- end }}
{{- if and (include "xdp-otel.interfaces" . | fromYaml).interfaces (ne "true" (include "xdp-otel.hostNetwork" .)) }}
{{- fail "sidecar.hostNetwork: false, but an interface of the node is read: leave it null" }}
{{- end }}
{{- $mode := .Values.collector.mode }}
{{- if and (eq $mode "none") (not .Values.collector.endpoint) }}
{{- fail "collector.mode: none, but no collector.endpoint: set it to the Collector that is there" }}
{{- end }}
{{- if and (ne $mode "none") .Values.collector.endpoint }}
{{- fail (printf "collector.endpoint: nobody reads it with collector.mode %s: set the mode to none" $mode) }}
{{- end }}
{{- if and (ne $mode "agent") .Values.gateway.remoteWrite.url }}
{{- fail (printf "gateway.remoteWrite.url: nobody writes to it with collector.mode %s: set the mode to agent" $mode) }}
{{- end }}
{{- $taken := dict }}
{{- range $name, $port := .Values.ports }}
{{- with get $taken (toString $port) }}
{{- fail (printf "ports: %s and %s are both %v: give each its own" . $name $port) }}
{{- end }}
{{- $_ := set $taken (toString $port) $name }}
{{- end }}
{{- if and (eq $mode "gateway") (ne (int .Values.gateway.replicas) 1) }}
{{- fail "gateway.replicas: with collector.mode gateway the one Collector keeps the totals: set it to 1, or the mode to agent" }}
{{- end }}
{{- if and (eq $mode "agent") (not .Values.gateway.remoteWrite.url) (not .Values.prometheus.enabled) }}
{{- fail "gateway.remoteWrite.url: empty, and no Prometheus of this release to write to: set it" }}
{{- end }}
{{- if and (eq $mode "none") .Values.tls.enabled (not .Values.tls.clientSecret) }}
{{- fail "tls.clientSecret: empty, and a Collector that is there already trusts no generated one: set it" }}
{{- end }}
{{- if and .Values.grafana.enabled (not .Values.prometheus.enabled) (not .Values.grafana.prometheusUrl) }}
{{- fail "grafana.prometheusUrl: empty, and no Prometheus of this release: set it, or disable grafana" }}
{{- end }}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled }}
{{- fail "monitoring: podMonitor and serviceMonitor would scrape the same twice: enable one" }}
{{- end }}
{{- with .Values.prometheus.storage }}
{{- if and (eq .type "hostPath") (not .hostPath) }}
{{- fail "prometheus.storage.hostPath: empty: set it to a directory of the node" }}
{{- end }}
{{- end }}
{{- end }}
