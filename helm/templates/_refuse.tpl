{{- /* Refuse a value that does not match: (list path value pattern words). In words, where a schema shows a pattern. */ -}}
{{- define "xdp-otel.match" -}}
{{- if not (regexMatch (index . 2) (toString (index . 1))) }}
{{- fail (printf "%s: %v is not %s" (index . 0) (toString (index . 1) | quote) (index . 3)) }}
{{- end }}
{{- end }}

{{- /* Refuse values that are malformed. */ -}}
{{- define "xdp-otel.refuseMalformed" -}}
{{- $duration := "^([0-9]+(ms|[smhdwy]))+$" }}
{{- $durationWords := "a duration such as 15s or 2h" }}
{{- $quantity := "^[0-9]+(\\.[0-9]+)?([EPTGMk]i?|m)?$" }}
{{- $quantityWords := "a size such as 8Gi" }}
{{- $share := "^([1-9][0-9]*|([1-9][0-9]?|100)%)$" }}
{{- $shareWords := "a number from 1, or a percentage" }}
{{- $registry := "^([^/\\s:]+(:[0-9]+)?(/[^\\s]*[^/\\s])?)?$" }}
{{- $registryWords := "a registry without https:// and without / at the end" }}
{{- $url := "^(https?://\\S+)?$" }}
{{- $urlWords := "a URL: http://… or https://…" }}
{{- range list
  (list "sidecar.interval" .Values.sidecar.interval "^(0\\.[1-9][0-9]*|[1-9][0-9]{0,4}(\\.[0-9]+)?)$" "a number of seconds from 0.1 to 86400")
  (list "sidecar.state.hostPath" .Values.sidecar.state.hostPath "^((/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,})?$" "a path of at least two directories, such as /var/lib/xdp-otel-1, of letters, digits, . _ and -")
  (list "sidecar.maxUnavailable" .Values.sidecar.maxUnavailable $share $shareWords)
  (list "collector.endpoint" .Values.collector.endpoint "^(https?://[^/\\s]+/?)?$" "http://HOST:PORT or https://HOST:PORT")
  (list "gateway.remoteWrite.url" .Values.gateway.remoteWrite.url $url $urlWords)
  (list "prometheus.scrapeInterval" .Values.prometheus.scrapeInterval $duration $durationWords)
  (list "prometheus.outOfOrderTimeWindow" (.Values.prometheus.outOfOrderTimeWindow | default "1d") $duration $durationWords)
  (list "prometheus.retention.time" .Values.prometheus.retention.time $duration $durationWords)
  (list "prometheus.retention.size" .Values.prometheus.retention.size "^([0-9]+[KMGTPE]?B)?$" "a size such as 8GB")
  (list "prometheus.storage.size" .Values.prometheus.storage.size $quantity $quantityWords)
  (list "prometheus.storage.hostPath" .Values.prometheus.storage.hostPath "^(/.+)?$" "an absolute path")
  (list "grafana.storage.size" .Values.grafana.storage.size $quantity $quantityWords)
  (list "grafana.prometheusUrl" .Values.grafana.prometheusUrl $url $urlWords)
  (list "monitoring.podMonitor.interval" .Values.monitoring.podMonitor.interval $duration $durationWords)
  (list "monitoring.podMonitor.scrapeTimeout" (.Values.monitoring.podMonitor.scrapeTimeout | default "1s") $duration $durationWords)
  (list "monitoring.serviceMonitor.scrapeTimeout" (.Values.monitoring.serviceMonitor.scrapeTimeout | default "1s") $duration $durationWords)
  (list "gateway.podDisruptionBudget.maxUnavailable" .Values.gateway.podDisruptionBudget.maxUnavailable $share $shareWords)
  (list "namespaceOverride" .Values.namespaceOverride "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" "the name of a namespace")
  (list "global.imageRegistry" .Values.global.imageRegistry $registry $registryWords)
  (list "grafana.ingress.path" .Values.grafana.ingress.path "^/" "a path")
  (list "grafana.httpRoute.path" .Values.grafana.httpRoute.path "^/" "a path")
  (list "monitoring.serviceMonitor.interval" .Values.monitoring.serviceMonitor.interval $duration $durationWords)
}}
{{- include "xdp-otel.match" . }}
{{- end }}
{{- if gt (.Values.sidecar.interval | toString | float64) 86400.0 }}
{{- fail (printf "sidecar.interval: %v is more than 86400 seconds" .Values.sidecar.interval) }}
{{- end }}
{{- range $name, $image := dict "sidecar" .Values.sidecar.image "collector" .Values.collector.image "prometheus" .Values.prometheus.image "grafana" .Values.grafana.image }}
{{- include "xdp-otel.match" (list (printf "%s.image.digest" $name) $image.digest "^(sha256:[0-9a-f]{64})?$" "sha256: and 64 hexadecimal digits") }}
{{- include "xdp-otel.match" (list (printf "%s.image.registry" $name) $image.registry $registry $registryWords) }}
{{- end }}
{{- range (include "xdp-otel.sources" . | fromYaml).sources }}
{{- if hasKey . "interface" }}
{{- include "xdp-otel.match" (list "sidecar.interfaces" .interface "^([^\\s/]{1,15}|[^\\s/]*[*?[][^\\s/]*)$" "the name of an interface: at most 15 characters, no space or /; nor a pattern, nor auto") }}
{{- end }}
{{- if hasKey . "pin" }}
{{- include "xdp-otel.match" (list "sidecar.maps" .pin "^/" "the absolute path of a pin") }}
{{- end }}
{{- end }}
{{- range .Values.sidecar.capabilities }}
{{- include "xdp-otel.match" (list "sidecar.capabilities" . "^[A-Z][A-Z_]+$" "a capability such as NET_ADMIN") }}
{{- end }}
{{- end }}

{{- /* Refuse labels that would replace those that select the chart's objects: (list path labels). */ -}}
{{- define "xdp-otel.refuseLabels" -}}
{{- $path := index . 0 }}
{{- range $key, $_ := index . 1 }}
{{- if or (eq $key "helm.sh/chart") (has $key (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/part-of" "app.kubernetes.io/managed-by")) }}
{{- fail (printf "%s: %s is a label of the chart's own: choose another key" $path $key) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Bytes of a quantity, 0 if there is none. */ -}}
{{- define "xdp-otel.bytes" -}}
{{- $text := toString (. | default 0) }}
{{- $number := regexFind "^[0-9.]+" $text | float64 }}
{{- $factor := dict "" 1 "k" 1000 "Ki" 1024 "M" 1000000 "Mi" 1048576 "G" 1000000000 "Gi" 1073741824 "T" 1000000000000 "Ti" 1099511627776 }}
{{- mulf $number (get $factor (regexFind "[A-Za-z]*$" $text) | default 0) | int64 }}
{{- end }}

{{- /* Refuse a Collector that would be killed before it refuses data: (list path values). */ -}}
{{- define "xdp-otel.refuseMemory" -}}
{{- $path := index . 0 }}
{{- $values := index . 1 }}
{{- $limit := ($values.resources.limits | default dict).memory }}
{{- $bytes := include "xdp-otel.bytes" $limit | int64 }}
{{- if and $bytes (ge (mul $values.memoryLimitMiB 1048576) $bytes) }}
{{- fail (printf "%s.memoryLimitMiB: %v MiB is not below the container's limit, %v: set %s.resources.limits.memory higher, or this lower" $path $values.memoryLimitMiB $limit $path) }}
{{- end }}
{{- end }}

{{- /* Refuse what values.schema.json cannot: malformed values, and values that do not go together. */ -}}
{{- define "xdp-otel.refuse" -}}
{{- $sidecar := .Values.sidecar }}
{{- include "xdp-otel.refuseMalformed" . }}
{{- include "xdp-otel.refuseLabels" (list "commonLabels" .Values.commonLabels) }}
{{- range $name, $component := dict "sidecar" $sidecar "gateway" .Values.gateway "prometheus" .Values.prometheus "grafana" .Values.grafana }}
{{- include "xdp-otel.refuseLabels" (list (printf "%s.podLabels" $name) $component.podLabels) }}
{{- end }}
{{- include "xdp-otel.refuseMemory" (list "collector" .Values.collector) }}
{{- include "xdp-otel.refuseMemory" (list "gateway" .Values.gateway) }}
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
{{- $scaling := .Values.gateway.autoscaling }}
{{- if and $scaling.enabled (eq $mode "gateway") }}
{{- fail "gateway.autoscaling: with collector.mode gateway the one Collector keeps the totals: disable it, or set the mode to agent" }}
{{- end }}
{{- if and $scaling.enabled (ne $mode "agent") }}
{{- fail (printf "gateway.autoscaling: there is no gateway with collector.mode %s: disable it, or set the mode to agent" $mode) }}
{{- end }}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
{{- fail (printf "gateway.autoscaling: minReplicas %v is more than maxReplicas %v: lower one, or raise the other" $scaling.minReplicas $scaling.maxReplicas) }}
{{- end }}
{{- if and $scaling.enabled (not (.Values.gateway.resources.requests | default dict).cpu) }}
{{- fail "gateway.autoscaling: the target is a percentage of gateway.resources.requests.cpu: set it" }}
{{- end }}
{{- if and .Values.collector.basePoint (ne $sidecar.temporality "delta") }}
{{- fail "collector.basePoint: it is for deltas, and sidecar.temporality is cumulative: leave one out" }}
{{- end }}
{{- if and (eq $mode "agent") .Values.prometheus.outOfOrderTimeWindow (eq $sidecar.temporality "delta") }}
{{- fail "prometheus.outOfOrderTimeWindow: the base points of deltas would be stored as late samples, and look like resets: set sidecar.temporality to cumulative" }}
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
{{- if and .Values.grafana.ingress.enabled (not .Values.grafana.ingress.hosts) }}
{{- fail "grafana.ingress.hosts: empty: set it to the names under which Grafana is reached" }}
{{- end }}
{{- if and .Values.grafana.httpRoute.enabled (not .Values.grafana.httpRoute.parentRefs) }}
{{- fail "grafana.httpRoute.parentRefs: empty: name the Gateway, as [{name: …, namespace: …}]" }}
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
