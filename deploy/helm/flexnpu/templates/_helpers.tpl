{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{- define "flexnpu.name" -}}
{{- $name := ternary .Release.Name (printf "%s-flexnpu" .Release.Name) (contains "flexnpu" .Release.Name) -}}
{{ $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "flexnpu.selector" -}}
app.kubernetes.io/name: flexnpu
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "flexnpu.labels" -}}
{{ include "flexnpu.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "flexnpu.image" -}}
{{- $suffix := ternary "-softnpu" "" (eq .Values.devices.kind "software") -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s%s" .Chart.AppVersion $suffix) }}
{{- end }}

{{/* Of both daemon sets: where they run, and how they are replaced. */}}
{{- define "flexnpu.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "flexnpu.pluginConfig" -}}
{{- $ours := dict
  "kubelet_dir" .Values.paths.kubelet
  "daemon" (printf "%s/admin.sock" .Values.paths.run)
  "pods_dir" .Values.paths.pods
  "lib_dir" .Values.paths.lib
-}}
{{- if not (hasKey .Values.plugin.config "cdi") }}{{ $_ := set $ours "cdi" (ternary "auto" "off" (ne .Values.paths.cdi "")) }}{{ end -}}
{{- if eq .Values.devices.kind "ascend" }}{{ $_ := set $ours "host_root" "/host" }}{{ end -}}
{{- if .Values.plugin.metricsPort }}{{ $_ := set $ours "metrics" (printf ":%d" (int .Values.plugin.metricsPort)) }}{{ end -}}
{{- toYaml (merge $ours .Values.plugin.config) -}}
{{- end }}
