{{- define "tidegate.name" -}}
istio-{{ .Values.gateway }}
{{- end }}

{{- define "tidegate.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "tidegate.name" .) }}
{{- end }}

{{/* Cluster-wide objects of two gateways of one name do not meet. */}}
{{- define "tidegate.clusterName" -}}
{{ include "tidegate.name" . }}-{{ .Release.Namespace }}
{{- end }}

{{- define "tidegate.selector" -}}
app: {{ include "tidegate.name" . }}
istio: {{ .Values.gateway }}
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
{{- range $key, $value := omit .Values.labels "app" "istio" }}
{{ $key }}: {{ $value | quote }}
{{- end }}
app.kubernetes.io/name: {{ include "tidegate.name" . }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The labels that Gateways select by. */}}
{{- define "tidegate.gatewayLabels" -}}
istio={{ .Values.gateway }}
{{- range $key, $value := omit .Values.labels "istio" }},{{ $key }}={{ $value }}{{ end }}
{{- end }}

{{/* Ports that are bound at other ports. */}}
{{- define "tidegate.portMap" -}}
{{- $mapped := list }}
{{- range .Values.service.ports }}
{{- $target := .targetPort | default .port }}
{{- $mapped = append $mapped (printf "%d=%d" (int .port) (int $target)) }}
{{- end }}
{{- join "," $mapped }}
{{- end }}
