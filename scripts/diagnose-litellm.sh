#!/usr/bin/env bash
# Looks at everything between people and models, from outside: the proxy, LiteLLM, each model,
# Postgres, Redis, the webhook's signature, what waits on disk, budgets. Needs bash, curl and coreutils;
# costs nothing unless --paid is said. docs/diagnosis.md has each check, and what to do about it.
#
# Keys go to curl on its standard input and to nobody's command line; none is printed.
set -uo pipefail

readonly ALL_WELL=0 WARNINGS=1 FAILURES=2 WRONG_USAGE=64
readonly SPOOL_WARN_BYTES=$((16 * 1024 * 1024))
readonly VARIABLES="PROXY_URL HOST PORT LITELLM_BASE_URL LITELLM_MASTER_KEY ADMIN_API_KEY WEBHOOK_SECRET LOCALE"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lang='' as_json=no paid=no timeout_s=10 env_file='' colour=auto
names=() states=() details=() hints=()

usage() {
  cat <<'TEXT'
usage: scripts/diagnose-litellm.sh [options]

  --proxy URL        the proxy (PROXY_URL, else http://HOST:PORT, else http://127.0.0.1:5000)
  --litellm URL      LiteLLM (LITELLM_BASE_URL, else http://127.0.0.1:4000)
  --env-file FILE    where variables are that the environment does not have;
                     else var/env (while `make run` runs) or .env. It is read, never executed
  --paid             also ask each model for one token, which costs money
  --timeout SECONDS  for each question (10)
  --lang pt|en       (LOCALE, else pt)
  --json             one document for programs
  --no-color
  -h, --help

Keys come from the environment or the file only: ADMIN_API_KEY (or a viewer's), LITELLM_MASTER_KEY,
WEBHOOK_SECRET; each also as NAME_FILE. What a key is missing for is skipped.

exit: 0 all well, 1 warnings, 2 failures, 64 wrong usage
TEXT
}

# --- words ------------------------------------------------------------------------------------------

# t PORTUGUESE ENGLISH: the one that people here read.
t() { if [ "$lang" = en ]; then printf '%s' "$2"; else printf '%s' "$1"; fi; }

# note NAME ok|warning|failure|skipped DETAIL [HINT]
note() {
  names+=("$1") states+=("$2") details+=("$3") hints+=("${4:-}")
  [ "$as_json" = yes ] || show "$1" "$2" "$3" "${4:-}"
}

show() {
  local mark paint='' plain=''
  case $2 in
    ok) mark='✔' paint=$'\e[32m' ;;
    warning) mark='!' paint=$'\e[33m' ;;
    failure) mark='✘' paint=$'\e[31m' ;;
    *) mark='–' paint=$'\e[2m' ;;
  esac
  if [ "$colour" = yes ]; then plain=$'\e[0m'; else paint=''; fi
  printf '%s%s%s %s: %s\n' "$paint" "$mark" "$plain" "$(printable "$1")" "$(printable "$3")"
  if [ -n "$4" ]; then printf '    → %s\n' "$4"; fi
}

# What comes from elsewhere commands no terminal.
printable() { printf '%s' "$1" | LC_ALL=C tr -d '\000-\037\177'; }

# --- settings ---------------------------------------------------------------------------------------

parse_options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --proxy | --litellm | --env-file | --timeout | --lang)
        [ $# -ge 2 ] || wrong_usage "$1"
        ;;&
      --proxy) PROXY_URL=$2; shift ;;
      --litellm) LITELLM_BASE_URL=$2; shift ;;
      --env-file) env_file=$2; shift ;;
      --timeout) timeout_s=$2; shift ;;
      --lang) lang=$2; shift ;;
      --paid) paid=yes ;;
      --json) as_json=yes ;;
      --no-color) colour=no ;;
      -h | --help) usage; exit "$ALL_WELL" ;;
      *) wrong_usage "$1" ;;
    esac
    shift
  done
  [[ $timeout_s =~ ^[1-9][0-9]{0,2}$ ]] || wrong_usage "--timeout $timeout_s"
  case $lang in '' | pt | en) ;; *) wrong_usage "--lang $lang" ;; esac
  [ -z "$env_file" ] || [ -r "$env_file" ] || wrong_usage "--env-file $env_file"
}

wrong_usage() {
  printf 'diagnose-litellm.sh: %s?\n\n' "$1" >&2
  usage >&2
  exit "$WRONG_USAGE"
}

load_variables() {
  local file name
  for file in "$env_file" "$root/var/env" "$root/.env"; do
    if [ -n "$file" ] && [ -r "$file" ]; then read_variables "$file"; break; fi
  done
  for name in LITELLM_MASTER_KEY ADMIN_API_KEY WEBHOOK_SECRET; do
    read_secret_file "$name"
  done
  if [ -z "$lang" ]; then case ${LOCALE:-pt_BR} in en*) lang=en ;; *) lang=pt ;; esac; fi
  proxy=${PROXY_URL:-http://$(reachable "${HOST:-127.0.0.1}"):${PORT:-5000}}
  litellm=${LITELLM_BASE_URL:-http://127.0.0.1:4000}
  proxy=${proxy%/} litellm=${litellm%/}
  if [ "$colour" = auto ]; then if [ -t 1 ]; then colour=yes; else colour=no; fi; fi
}

# A server that listens everywhere is asked here.
reachable() { case $1 in 0.0.0.0 | '[::]' | ::) printf 127.0.0.1 ;; *) printf '%s' "$1" ;; esac; }

# Takes NAME=value lines of a file as they are written; what the environment has stands.
read_variables() {
  local line name value
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line#export }
    [[ $line =~ ^([A-Z_]+)=(.*)$ ]] || continue
    name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    [[ " $VARIABLES " == *" ${name%_FILE} "* ]] || continue
    case $value in
      \'*\') value=${value#\'} value=${value%\'} ;;
      \"*\") value=${value#\"} value=${value%\"} ;;
    esac
    [ -n "${!name+set}" ] || printf -v "$name" '%s' "$value"
  done <"$1"
}

read_secret_file() {
  local variable=$1_FILE
  if [ -z "${!1:-}" ] && [ -n "${!variable:-}" ] && [ -r "${!variable}" ]; then
    printf -v "$1" '%s' "$(head -n 1 -- "${!variable}")"
  fi
}

# --- asking -----------------------------------------------------------------------------------------

# ask URL [KEY [METHOD BODY [HEADER]]]: sets `status` (000: no answer) and `answer`.
ask() {
  local url=$1 key=${2:-} method=${3:-GET} body=${4:-} header=${5:-} said
  said=$(
    {
      printf 'url = "%s"\nrequest = "%s"\nmax-time = %s\nconnect-timeout = %s\n' \
        "$(quoted "$url")" "$method" "$timeout_s" "$timeout_s"
      printf 'silent\nwrite-out = "\\n%%{http_code}"\n'
      if [ -n "$key" ]; then printf 'header = "Authorization: Bearer %s"\n' "$(quoted "$key")"; fi
      if [ -n "$header" ]; then printf 'header = "%s"\n' "$(quoted "$header")"; fi
      if [ -n "$body" ]; then
        printf 'header = "Content-Type: application/json"\ndata-raw = "%s"\n' "$(quoted "$body")"
      fi
    } | curl --disable --config - 2>/dev/null
  )
  status=${said##*$'\n'} answer=${said%$'\n'*}
  [[ $status =~ ^[0-9]{3}$ ]] || status=000
}

# For a file of options of curl's.
quoted() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/}
  printf '%s' "$text"
}

# field NAME JSON: the text of a field of a flat object.
field() {
  local pattern="\"$1\": *\"([^\"]*)\""
  if [[ $2 =~ $pattern ]]; then printf '%s' "${BASH_REMATCH[1]}"; fi
}

# metric NAME [LABEL]: the sum of a metric's values in `metrics`, of all or of those with a label.
metric() {
  printf '%s\n' "$metrics" | awk -v name="$1" -v label="${2:-}" '
    index($0, name) == 1 && substr($0, length(name) + 1, 1) ~ /[ {]/ && index($0, label) { sum += $NF }
    END { printf "%.0f", sum }'
}

# --- checks -----------------------------------------------------------------------------------------

check_proxy() {
  ask "$proxy/livez"
  if [ "$status" = 200 ]; then
    note proxy ok "$(t "responde em $proxy" "answers at $proxy")"
    return
  fi
  note proxy failure "$(t "não responde em $proxy (HTTP $status)" "does not answer at $proxy (HTTP $status)")" \
    "$(t "veja se está de pé: $(how_to_look proxy-inteligente); o endereço vem de --proxy ou PROXY_URL" \
      "see whether it is up: $(how_to_look proxy-inteligente); the address comes from --proxy or PROXY_URL")"
  return 1
}

check_engines() {
  ask "$proxy/readyz"
  check_engine postgres database \
    "$(t "o proxy não alcança o Postgres (DATABASE_URL): em modo strict ninguém é atendido" \
      "the proxy cannot reach Postgres (DATABASE_URL): in strict mode nobody is served")" failure
  check_engine redis redis \
    "$(t "o proxy não alcança o Redis (REDIS_URL): segue sem ele, com limites por minuto no Postgres" \
      "the proxy cannot reach Redis (REDIS_URL): it does without, limits by the minute are in Postgres")" warning
  if [ "$(field draining "$answer")" = yes ]; then
    note drain warning "$(t "esta máquina está saindo de serviço" "this machine is being taken out of service")" \
      'solaris drain --off'
  fi
}

# check_engine NAME FIELD HINT STATE-WHEN-AWAY
check_engine() {
  case $(field "$2" "$answer") in
    ok) note "$1" ok "$(t "o proxy o alcança" "the proxy reaches it")" ;;
    '') note "$1" skipped "$(t "o proxy não o usa" "the proxy does not use it")" ;;
    *) note "$1" "$4" "$(t "fora do ar" "away")" "$3" ;;
  esac
}

check_admin_key() {
  if [ -z "${ADMIN_API_KEY:-}" ]; then
    note admin_key skipped "$(t "sem ADMIN_API_KEY: modelos, fila e orçamentos não são vistos" \
      "without ADMIN_API_KEY: models, spool and budgets are not looked at")"
    return 1
  fi
  ask "$proxy/api/admin/models/status" "$ADMIN_API_KEY"
  models=$answer
  case $status in
    200) note admin_key ok "$(t "é aceita" "is accepted")" ;;
    401 | 403)
      note admin_key failure "$(t "é recusada (HTTP $status)" "is refused (HTTP $status)")" \
        "$(t "confira ADMIN_API_KEY; ou crie outra: solaris keys create diagnostico --role viewer" \
          "check ADMIN_API_KEY; or make another: solaris keys create diagnosis --role viewer")"
      return 1
      ;;
    *)
      note admin_key failure "HTTP $status" "$(t "veja os registros: $(how_to_look proxy-inteligente)" \
        "see the logs: $(how_to_look proxy-inteligente)")"
      return 1
      ;;
  esac
}

check_litellm() {
  ask "$litellm/health/liveliness"
  if [ "$status" != 200 ]; then
    note litellm failure "$(t "não responde em $litellm (HTTP $status)" "does not answer at $litellm (HTTP $status)")" \
      "$(t "veja os registros: $(how_to_look litellm)" "see the logs: $(how_to_look litellm)")"
    return 1
  fi
  note litellm ok "$(t "responde em $litellm" "answers at $litellm")"
  if [ -z "${LITELLM_MASTER_KEY:-}" ]; then
    note litellm_key skipped "$(t "sem LITELLM_MASTER_KEY" "without LITELLM_MASTER_KEY")"
    return
  fi
  ask "$litellm/v1/models" "$LITELLM_MASTER_KEY"
  if [ "$status" = 200 ]; then
    note litellm_key ok "$(t "é aceita" "is accepted")"
  else
    note litellm_key failure "$(t "é recusada (HTTP $status)" "is refused (HTTP $status)")" \
      "$(t "LITELLM_MASTER_KEY deve ser a mesma no proxy e no LiteLLM" \
        "LITELLM_MASTER_KEY must be the same in the proxy and in LiteLLM")"
  fi
}

check_models() {
  local object name state reason
  while IFS= read -r object; do
    name=$(field id "$object")
    state=$(field status "$object")
    reason=$(field reason "$object")
    [ -n "$name" ] || continue
    check_model "$name" "$state" "$reason"
    if [ "$paid" = yes ] && [ "$state" != unavailable ]; then ask_model "$name"; fi
  done < <(printf '%s' "$models" | tr -d '\n' | grep -o '{[^{}]*}')
}

check_model() {
  case $2 in
    healthy) note "model $1" ok "$(t "está bem" "is well")" ;;
    rate_limited)
      note "model $1" warning "$(t "o provedor limita os pedidos agora" "its provider limits requests just now")" \
        "$(t "passa sozinho; os substitutos respondem" "it passes by itself; fallbacks answer")"
      ;;
    unhealthy)
      note "model $1" failure "$(t "falha: $3; está fora até um teste dar certo" "fails: $3; it is left out until a trial succeeds")" \
        "$(t "confira a chave e o estado do provedor; depois POST /api/admin/models/refresh" \
          "check the provider's key and status; then POST /api/admin/models/refresh")"
      ;;
    *)
      note "model $1" failure "$(t "o LiteLLM não o oferece" "LiteLLM does not offer it")" \
        "$(t "a configuração do LiteLLM deve vir de: solaris litellm-config" \
          "LiteLLM's configuration must come from: solaris litellm-config")"
      ;;
  esac
}

# One token of one model, straight from LiteLLM: this costs money.
ask_model() {
  local path=/v1/chat/completions body="{\"model\":\"$1\",\"messages\":[{\"role\":\"user\",\"content\":\"oi\"}],\"max_tokens\":1,\"num_retries\":0,\"disable_fallbacks\":true}"
  case $1 in
    *embedding*) path=/v1/embeddings body="{\"model\":\"$1\",\"input\":\"oi\"}" ;;
  esac
  ask "$litellm$path" "${LITELLM_MASTER_KEY:-}" POST "$body"
  if [ "$status" = 200 ]; then
    note "paid $1" ok "$(t "respondeu" "answered")"
  else
    note "paid $1" failure "HTTP $status" "$(t "veja os registros: $(how_to_look litellm)" "see the logs: $(how_to_look litellm)")"
  fi
}

check_webhook() {
  if [ -z "${WEBHOOK_SECRET:-}" ]; then
    note webhook skipped "$(t "sem WEBHOOK_SECRET" "without WEBHOOK_SECRET")"
    return
  fi
  # Of a kind that is known to nobody: believed, counted as ignored, and stored nowhere.
  local body='{"event_type":"diagnosis","data":{}}'
  ask "$proxy/api/webhooks/litellm" '' POST "$body" "X-Signature-256: sha256=$(hmac "$body")"
  case $status in
    200) note webhook ok "$(t "a assinatura confere" "the signature is good")" ;;
    401)
      note webhook failure "$(t "a assinatura é recusada" "the signature is refused")" \
        "$(t "WEBHOOK_SECRET deve ser o mesmo aqui, no proxy e no LiteLLM; e os relógios, certos" \
          "WEBHOOK_SECRET must be the same here, in the proxy and in LiteLLM; and the clocks right")"
      ;;
    *) note webhook failure "HTTP $status" "$(t "veja os registros: $(how_to_look proxy-inteligente)" \
      "see the logs: $(how_to_look proxy-inteligente)")" ;;
  esac
}

# HMAC-SHA256 of a text under WEBHOOK_SECRET, in hex; openssl would show the secret to `ps`.
hmac() {
  local key byte inner='' outer='' position
  key=$(printf '%s' "$WEBHOOK_SECRET" | od -An -v -tx1 | tr -d ' \n')
  if [ ${#key} -gt 128 ]; then key=$(printf '%s' "$WEBHOOK_SECRET" | sha256sum | cut -c 1-64); fi
  for ((position = 0; position < 64; position++)); do
    byte=${key:position*2:2}
    printf -v inner '%s\\x%02x' "$inner" $((16#${byte:-00} ^ 0x36))
    printf -v outer '%s\\x%02x' "$outer" $((16#${byte:-00} ^ 0x5c))
  done
  inner=$({ printf '%b' "$inner"; printf '%s' "$1"; } | sha256sum | cut -c 1-64)
  { printf '%b' "$outer"; bytes "$inner"; } | sha256sum | cut -c 1-64
}

# bytes HEX: what the digits stand for.
bytes() {
  local position
  for ((position = 0; position < ${#1}; position += 2)); do printf '%b' "\\x${1:position:2}"; done
}

check_figures() {
  local waiting full thrown stuck
  ask "$proxy/metrics" "$ADMIN_API_KEY"
  metrics=$answer
  if [ "$status" != 200 ]; then
    note metrics failure "HTTP $status"
    return
  fi
  waiting=$(metric solaris_spool_waiting_bytes)
  if [ "$waiting" -gt "$SPOOL_WARN_BYTES" ]; then
    note spool warning "$(t "$((waiting / 1024)) KiB de eventos esperam em disco" "$((waiting / 1024)) KiB of events wait on disk")" \
      "$(t "o Postgres está fora do ar ou lento; nada se perdeu" "Postgres is away or slow; nothing is lost")"
  else
    note spool ok "$(t "$((waiting / 1024)) KiB em disco" "$((waiting / 1024)) KiB on disk")"
  fi
  if [ "$(metric solaris_database_up)" != 1 ]; then
    note budgets skipped "$(t "o Postgres não responde" "Postgres does not answer")"
    return
  fi
  full=$(metric solaris_budgets_full 'percent="100"')
  if [ "$full" -gt 0 ]; then
    note budgets warning "$(t "$full esgotados" "$full are used up")" 'solaris budgets list; solaris budgets raise'
  else
    note budgets ok "$(t "nenhum esgotado" "none is used up")"
  fi
  thrown=$(metric solaris_kill_switches)
  if [ "$thrown" -gt 0 ]; then
    note kill_switches warning "$(t "$thrown em vigor: há chamadas recusadas de propósito" \
      "$thrown thrown: calls are refused on purpose")" 'solaris killswitch list'
  fi
  stuck=$(metric solaris_alert_deliveries)
  if [ "$stuck" -gt 0 ]; then
    note alerts warning "$(t "$stuck mensagens não foram entregues" "$stuck messages are not delivered")" 'solaris alerts channels'
  fi
}

# how_to_look SERVICE: where its logs are.
how_to_look() {
  local services=''
  if command -v docker >/dev/null 2>&1 && [ -e "$root/docker-compose.yml" ]; then
    services=$(docker compose --project-directory "$root" ps --services 2>/dev/null)
  fi
  if [[ $'\n'$services$'\n' == *$'\n'$1$'\n'* ]]; then
    printf 'docker compose logs --tail 20 %s' "$1"
  elif [ -d "$root/var/log" ]; then
    printf 'tail %s/var/log/*.log' "$root"
  else
    printf 'journalctl -u %s' "$1"
  fi
}

# --- the end ----------------------------------------------------------------------------------------

count() {
  local state total=0
  for state in ${states[@]+"${states[@]}"}; do if [ "$state" = "$1" ]; then total=$((total + 1)); fi; done
  printf '%s' "$total"
}

escaped() {
  local text
  text=$(printable "$1")
  text=${text//\\/\\\\}
  printf '%s' "${text//\"/\\\"}"
}

print_json() {
  local index separator=''
  printf '{"verdict":"%s","checks":[' "$1"
  for index in "${!names[@]}"; do
    printf '%s{"check":"%s","state":"%s","detail":"%s","hint":"%s"}' "$separator" \
      "$(escaped "${names[index]}")" "${states[index]}" "$(escaped "${details[index]}")" "$(escaped "${hints[index]}")"
    separator=,
  done
  printf ']}\n'
}

main() {
  parse_options "$@"
  if ! command -v curl >/dev/null 2>&1; then wrong_usage "curl"; fi
  load_variables
  local verdict=ok code=$ALL_WELL failures warnings
  models='' metrics=''
  if check_proxy; then
    check_engines
    check_webhook
    if check_admin_key; then check_figures; else models=''; fi
  fi
  if check_litellm || [ -n "$models" ]; then check_models; fi
  failures=$(count failure) warnings=$(count warning)
  if [ "$failures" -gt 0 ]; then verdict=failure code=$FAILURES; elif [ "$warnings" -gt 0 ]; then verdict=warning code=$WARNINGS; fi
  if [ "$as_json" = yes ]; then
    print_json "$verdict"
  else
    printf '\n%s\n' "$(t "falhas: $failures, avisos: $warnings" "failures: $failures, warnings: $warnings")"
  fi
  exit "$code"
}

main "$@"
