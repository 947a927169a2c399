{{- /* The source of a volume: (list name storage). */ -}}
{{- define "xdp-otel.storage" -}}
{{- $storage := index . 1 }}
{{- if eq $storage.type "pvc" -}}
persistentVolumeClaim: {claimName: {{ $storage.existingClaim | default (index . 0) }}}
{{- else if eq $storage.type "hostPath" -}}
hostPath: {path: {{ $storage.hostPath }}, type: DirectoryOrCreate}
{{- else -}}
emptyDir: {}
{{- end }}
{{- end }}

{{- /* How a pod is replaced: (storage). Recreate waits for ever for a pod whose node is down. */ -}}
{{- define "xdp-otel.strategy" -}}
{{- if eq .type "emptyDir" -}}
type: RollingUpdate
rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
{{- else -}}
# Two must not write to one directory.
type: Recreate
{{- end }}
{{- end }}

{{- /* The claim of a component: (list $ "component" storage). */ -}}
{{- define "xdp-otel.claim" -}}
{{- $ := index . 0 }}
{{- $storage := index . 2 }}
{{- if and (eq $storage.type "pvc") (not $storage.existingClaim) }}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "xdp-otel.fullname" $ }}-{{ index . 1 }}
  namespace: {{ include "xdp-otel.namespace" $ }}
  labels: {{- include "xdp-otel.labels" (list $ (index . 1)) | nindent 4 }}
  {{- if $storage.keep }}
  annotations: {helm.sh/resource-policy: keep}
  {{- end }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with $storage.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests: {storage: {{ $storage.size }}}
{{- end }}
{{- end }}
