{{/* One problem as a sentence of four parts. Argument: (list key given allowed why do). */}}
{{- define "comfyui-vace.problem" -}}
{{- printf "\n- %s: given %s. Allowed: %s. Why: %s. What to do: %s." (index . 0) (index . 1) (index . 2) (index . 3) (index . 4) -}}
{{- end -}}

{{/* Fails once, with everything that is wrong. */}}
{{- define "comfyui-vace.checks" -}}
{{- $found := list
  (include "comfyui-vace.checkNames" .)
  (include "comfyui-vace.checkImages" .)
  (include "comfyui-vace.checkCredentials" .)
  (include "comfyui-vace.checkGpu" .)
  (include "comfyui-vace.checkAcs" .)
  (include "comfyui-vace.checkStorage" .)
  (include "comfyui-vace.checkDoors" .)
  (include "comfyui-vace.checkPods" .)
| join "" -}}
{{- if $found -}}
{{- fail (printf "comfyui-vace cannot be rendered from these values:%s" $found) -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.checkNames" -}}
{{- $name := include "comfyui-vace.fullname" . -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) -}}
{{- include "comfyui-vace.problem" (list "fullnameOverride" (printf "the name %q" $name) "lower-case letters, digits and hyphens, a letter first" "Kubernetes takes no other name for a Service" "set fullnameOverride, or choose a release name that begins with a letter") -}}
{{- end -}}
{{- if ne (int .Values.comfyui.replicas) 1 -}}
{{- include "comfyui-vace.problem" (list "comfyui.replicas" .Values.comfyui.replicas "1" "each ComfyUI has a queue and a history of its own, so that with several a client would ask one for what another made; more than one is not correct until jobs are queued outside ComfyUI" "leave it at 1, and install the chart once more for a second service") -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.checkImages" -}}
{{- $images := .Values.images -}}
{{- range $name := list "comfyui" "gateway" "smoke" -}}
{{- $image := index $images $name -}}
{{- $key := printf "images.%s" $name -}}
{{- if not $image.repository -}}
{{- if or (ne $name "smoke") $image.digest $image.tag -}}
{{- include "comfyui-vace.problem" (list (printf "%s.repository" $key) "nothing" "REGISTRY/NAME" "without it there is nothing to pull" (printf "set %s.repository and %s.digest as `python -m images push` printed them" $key $key)) -}}
{{- end -}}
{{- else if and (not $image.digest) (not $images.allowTags) -}}
{{- include "comfyui-vace.problem" (list (printf "%s.digest" $key) (ternary (printf "only the tag %q" $image.tag) "nothing" (ne $image.tag "")) "sha256: and 64 hexadecimal digits" "a tag may mean another image tomorrow, also when you roll back" (printf "set %s.digest, or images.allowTags=true for a trial" $key)) -}}
{{- else if and (not $image.digest) (not $image.tag) -}}
{{- include "comfyui-vace.problem" (list (printf "%s.tag" $key) "neither digest nor tag" "one of them" "without both the registry hands out `latest`, whatever that is" (printf "set %s.digest" $key)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.checkCredentials" -}}
{{- $tls := .Values.tls -}}
{{- if and $tls.existingSecret $tls.certManager.enabled -}}
{{- include "comfyui-vace.problem" (list "tls.existingSecret" (printf "%q together with tls.certManager.enabled" $tls.existingSecret) "one of the two" "cert-manager would write into a Secret that is somebody else's" "leave out one of them") -}}
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuerRef.name) -}}
{{- include "comfyui-vace.problem" (list "tls.certManager.issuerRef.name" "nothing" "the name of an Issuer or ClusterIssuer" "cert-manager has no default issuer" "set it, for example to what `kubectl get clusterissuers` shows") -}}
{{- end -}}
{{- if eq (include "comfyui-vace.tlsFrom" .) "none" -}}
{{- include "comfyui-vace.problem" (list "tls" "no certificate" "tls.existingSecret, tls.certManager.enabled or tls.selfSigned" "the gateway takes the token only over TLS" "name a Secret of type kubernetes.io/tls, or set tls.selfSigned=true") -}}
{{- end -}}
{{- if and $tls.caKey (eq (include "comfyui-vace.tlsFrom" .) "selfSigned") (ne $tls.caKey "ca.crt") -}}
{{- include "comfyui-vace.problem" (list "tls.caKey" (printf "%q" $tls.caKey) "ca.crt or nothing, for a self-signed certificate" "the chart writes the authority under ca.crt" "leave tls.caKey empty") -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.checkGpu" -}}
{{- $count := int .Values.gpu.count -}}
{{- if gt $count 1 -}}
{{- include "comfyui-vace.problem" (list "gpu.count" $count "1, or 0 with the CPU image" "ComfyUI makes a video on one GPU, and the others would be paid for and idle" "set gpu.count=1 and install the chart once for each GPU") -}}
{{- end -}}
{{- $ppu := regexMatch "^(P16EN|PPU)" .Values.acs.gpuSeries -}}
{{- if and .Values.acs.enabled .Values.gpu.resourceName (ne $ppu (eq .Values.gpu.resourceName "alibabacloud.com/ppu")) -}}
{{- include "comfyui-vace.problem" (list "gpu.resourceName" (printf "%q with the card %q" .Values.gpu.resourceName .Values.acs.gpuSeries) "alibabacloud.com/ppu for a PPU (P16EN, PPU…), nvidia.com/gpu for the others" "a pod that asks for a resource which its card does not have stays pending" "leave gpu.resourceName empty: it follows from the card") -}}
{{- end -}}
{{- if and .Values.acs.enabled (eq .Values.speedProfile "fast") (has .Values.acs.gpuSeries (list "T4" "A10")) -}}
{{- include "comfyui-vace.problem" (list "speedProfile" (printf "fast with the card %s" .Values.acs.gpuSeries) "safe or balanced on this card" "fast multiplies in FP8, which needs compute capability 8.9, and ComfyUI refuses the start with exit code 64" "set speedProfile=balanced, or choose an L20 or H20") -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.checkAcs" -}}
{{- $acs := .Values.acs -}}
{{- if $acs.enabled -}}
{{- if and (gt (int .Values.gpu.count) 0) (not $acs.gpuSeries) -}}
{{- include "comfyui-vace.problem" (list "acs.gpuSeries" "nothing" "a card such as L20, A10, H20 or P16EN" "ACS places a GPU pod by this label and has no default card" "set acs.gpuSeries, or use one of the presets values-acs-*.yaml") -}}
{{- end -}}
{{- if and (eq $acs.computeClass "gpu-hpn") (eq $acs.computeQos "best-effort") -}}
{{- include "comfyui-vace.problem" (list "acs.computeQos" "best-effort with the class gpu-hpn" "default" "ACS sells gpu-hpn from reservations only" "set acs.computeQos=default, or acs.computeClass=gpu") -}}
{{- end -}}
{{- if hasKey .Values.comfyui.podAnnotations "alibabacloud.com/cpu-vendors" -}}
{{- include "comfyui-vace.problem" (list "comfyui.podAnnotations" "alibabacloud.com/cpu-vendors" "any annotation but this one" "ACS refuses it on GPU pods" "remove it") -}}
{{- end -}}
{{- $resources := .Values.comfyui.resources -}}
{{- if lt (include "comfyui-vace.mib" $resources.ephemeralStorage | int64) 30720 -}}
{{- include "comfyui-vace.problem" (list "comfyui.resources.ephemeralStorage" $resources.ephemeralStorage "30Gi or more on ACS" "30 GiB are the least that an ACS pod has, they cost nothing, and the image is part of them" "set it to 30Gi or more") -}}
{{- end -}}
{{- $ratio := get (dict "T4" 4 "A10" 4 "L20" 8 "G49E" 8) $acs.gpuSeries | default 0 | int -}}
{{- if gt $ratio 0 -}}
{{- $pairs := printf "an even number of vCPU from 2 to 16, and from 1 to %d GiB of memory for each" $ratio -}}
{{- $cpu := regexMatch "^([2468]|10|12|14|16)$" $resources.cpu -}}
{{- if not $cpu -}}
{{- include "comfyui-vace.problem" (list "comfyui.resources.cpu" (printf "%q with the card %s" $resources.cpu $acs.gpuSeries) $pairs "ACS rounds other sizes up and charges for them" "set 8, for example") -}}
{{- else -}}
{{- $memory := include "comfyui-vace.mib" $resources.memory | int64 -}}
{{- $most := mul (int64 $resources.cpu) $ratio 1024 -}}
{{- if eq $resources.cpu "16" -}}
{{- $most = mul (get (dict "T4" 64 "A10" 60 "L20" 120 "G49E" 120) $acs.gpuSeries) 1024 -}}
{{- end -}}
{{- if or (lt $memory (mul (int64 $resources.cpu) 1024)) (gt $memory $most) (ne (mod $memory 1024) 0) -}}
{{- include "comfyui-vace.problem" (list "comfyui.resources.memory" (printf "%s with %s vCPU and the card %s" $resources.memory $resources.cpu $acs.gpuSeries) (printf "%s; here %s to %dGi in steps of 1Gi" $pairs (printf "%sGi" $resources.cpu) (div $most 1024)) "ACS rounds other sizes up and charges for them" "choose a size in that range, or more vCPU") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.checkStorage" -}}
{{- $models := .Values.persistence.models -}}
{{- if and (eq .Values.weights.source "claim") (not $models.existingClaim) (not $models.size) -}}
{{- include "comfyui-vace.problem" (list "persistence.models" "neither existingClaim nor size" "one of them, with weights.source=claim" "there is no place for the weights" "set persistence.models.size=30Gi, or name a claim") -}}
{{- end -}}
{{- if and (eq .Values.weights.source "image") (or $models.existingClaim $models.size) -}}
{{- include "comfyui-vace.problem" (list "persistence.models" (printf "a claim, with weights.source=%s" .Values.weights.source) "no claim, or weights.source=claim" "the claim would be paid for and never read" "set weights.source=claim, or leave persistence.models empty") -}}
{{- end -}}
{{- if and .Values.weights.onlyGiven (not .Values.weights.sources) -}}
{{- include "comfyui-vace.problem" (list "weights.onlyGiven" "true without weights.sources" "true with at least one source" "there would be nowhere to download from" "name a source, or set weights.onlyGiven=false") -}}
{{- end -}}
{{- range $folder := list "input" "output" "user" "temp" "models" -}}
{{- $own := index $.Values.persistence $folder -}}
{{- if and $own.existingClaim $own.size -}}
{{- include "comfyui-vace.problem" (list (printf "persistence.%s" $folder) "existingClaim and size" "one of them" "an existing claim has its size, and a second claim would stay empty" "leave out one of them") -}}
{{- end -}}
{{- end -}}
{{- $resources := .Values.comfyui.resources -}}
{{- $scratch := .Values.comfyui.scratch -}}
{{- if ge (include "comfyui-vace.mib" $scratch.shm | int64) (include "comfyui-vace.mib" $resources.memory | int64) -}}
{{- include "comfyui-vace.problem" (list "comfyui.scratch.shm" (printf "%s with %s of memory" $scratch.shm $resources.memory) "less than comfyui.resources.memory" "/dev/shm lies in the pod's memory, and a full one would end the pod" "make it smaller, or give the pod more memory") -}}
{{- end -}}
{{- $disk := include "comfyui-vace.mib" $scratch.tmp | int64 -}}
{{- range $folder := list "input" "output" "user" "temp" -}}
{{- if eq (include "comfyui-vace.folder" (list $ $folder)) "{}" -}}
{{- $disk = add $disk (include "comfyui-vace.mib" (ternary $scratch.temp "1024Mi" (eq $folder "temp")) | int64) -}}
{{- end -}}
{{- end -}}
{{- if gt $disk (include "comfyui-vace.mib" $resources.ephemeralStorage | int64) -}}
{{- include "comfyui-vace.problem" (list "comfyui.resources.ephemeralStorage" $resources.ephemeralStorage (printf "at least %dMi, what /tmp and the folders without a claim need" $disk) "a pod that writes more than this is evicted, with the video that it makes" "raise it, or make comfyui.scratch smaller") -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.checkDoors" -}}
{{- if .Values.ingress.enabled -}}
{{- if not .Values.ingress.host -}}
{{- include "comfyui-vace.problem" (list "ingress.host" "nothing" "a host name" "the gateway refuses requests for names that it does not know" "set ingress.host") -}}
{{- end -}}
{{- if eq .Values.service.type "LoadBalancer" -}}
{{- include "comfyui-vace.problem" (list "service.type" "LoadBalancer together with ingress.enabled" "ClusterIP with an Ingress" "the load balancer would be a second door, past the rules of the Ingress" "set service.type=ClusterIP, or ingress.enabled=false") -}}
{{- end -}}
{{- end -}}
{{- if ne .Values.service.type "LoadBalancer" -}}
{{- if or .Values.service.loadBalancerClass .Values.service.loadBalancerSourceRanges -}}
{{- include "comfyui-vace.problem" (list "service.type" (printf "%s with loadBalancerClass or loadBalancerSourceRanges" .Values.service.type) "LoadBalancer with these" "without a load balancer they protect nothing" "set service.type=LoadBalancer, or leave them out; networkPolicy.allowedCidrs works for every type") -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.allowedCidrs (not .Values.networkPolicy.enabled) -}}
{{- include "comfyui-vace.problem" (list "networkPolicy.allowedCidrs" "a list, with networkPolicy.enabled=false" "a list with networkPolicy.enabled=true" "nothing would enforce it" "set networkPolicy.enabled=true") -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- include "comfyui-vace.problem" (list "metrics.serviceMonitor.enabled" "true with metrics.enabled=false" "true with metrics.enabled=true" "there would be nothing to scrape" "set metrics.enabled=true") -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.checkPods" -}}
{{- $selectors := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" -}}
{{- $all := dict "commonLabels" .Values.commonLabels "comfyui.podLabels" .Values.comfyui.podLabels "gateway.podLabels" .Values.gateway.podLabels -}}
{{- range $key, $labels := $all -}}
{{- range $selectors -}}
{{- if hasKey $labels . -}}
{{- include "comfyui-vace.problem" (list $key . "any label but those of the selectors" "the Deployment would no longer find its pods" "remove it, or use nameOverride") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $reserved := dict
  "comfyui.extraEnv" "^(COMFYUI_(LISTEN|PORT|BASE|MAX_UPLOAD_MIB)|VACE_(STATUS_LISTEN|MODELS|DRAIN_SECONDS|PROFILE|VERIFY_WEIGHTS|WARMUP|STALL_SECONDS|EXTRA_ARGS))$"
  "gateway.extraEnv" "^VACE_GATEWAY_(TLS_LISTEN|TLS_CERT|TLS_KEY|TOKEN_FILE|UPSTREAM|UPSTREAM_STATUS|METRICS_LISTEN|ALLOWED_HOSTS|MAX_UPLOAD_MIB|MAX_QUEUE|DRAIN_SECONDS)$"
  "weights.extraEnv" "^$" -}}
{{- $lists := dict "comfyui.extraEnv" .Values.comfyui.extraEnv "gateway.extraEnv" .Values.gateway.extraEnv "weights.extraEnv" .Values.weights.extraEnv -}}
{{- range $key, $list := $lists -}}
{{- $seen := list -}}
{{- range $list -}}
{{- if regexMatch (get $reserved $key) .name -}}
{{- include "comfyui-vace.problem" (list $key .name "variables that the chart does not set" "two values for one name contradict each other" "use the chart's value of that meaning, see README.md") -}}
{{- end -}}
{{- if has .name $seen -}}
{{- include "comfyui-vace.problem" (list $key (printf "%s twice" .name) "each name once" "only one of the two would count" "remove one") -}}
{{- end -}}
{{- $seen = append $seen .name -}}
{{- end -}}
{{- end -}}
{{- end -}}
