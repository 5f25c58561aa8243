"""What `solaris …` says to the person at the terminal, in both languages.

Help texts (`--help`) stay in English. What scripts read (`--json`) has no language.
"""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "unusable": "a configuração não pode ser usada:",
        "use_running": "Para usar o que `make run` iniciou: set -a; . {path}; set +a",
        "database_away": "o Postgres ({variable}) não pôde ser alcançado: {reason}",
        "tables_missing": "faltam as tabelas no Postgres (DATABASE_URL): "
        "execute `solaris db upgrade`",
        "key_made": "A chave {id} ({name}) só aparece agora; apenas o hash fica guardado.",
        "key_revoked": "revogada: {id} ({name})",
        "key_rotated": "nova chave {id} ({name}), que só aparece desta vez; "
        "a antiga ainda vale por {hours} h:",
        "key_replaced": "a chave {reference} já tem sucessora",
        "key_changed": "mudada: {id} ({name}); vale em toda parte em até 5 segundos",
        "budget_raised": "aumento {id} concedido até {until}; em toda parte em até 2 segundos",
        "raise_ended": "aumento {id} encerrado",
        "switch_thrown": "bloqueio {id} acionado; em toda parte em até 2 segundos",
        "switch_lifted": "bloqueio {id} desfeito; em toda parte em até 2 segundos",
        "switch_unknown": "nenhum bloqueio em vigor tem o número {id}",
        "bad_switch_subject": "all vale para todos e não leva --subject; os outros precisam dele, "
        "e um modelo tem de ser do catálogo",
        "bad_reason": "o motivo é uma linha de texto, de 1 a {most} caracteres",
        "doctor_configuration": "pode ser usada; {models} modelos no catálogo",
        "doctor_database": "o Postgres (DATABASE_URL) não pôde ser consultado: {reason}",
        "doctor_migrated": "as tabelas estão em dia ({revision})",
        "doctor_unmigrated": "as tabelas são de {there}, o programa de {here}: "
        "execute `solaris db upgrade`",
        "doctor_clock": "{seconds} s de diferença para o relógio do Postgres",
        "doctor_no_trail": "a trilha ainda está vazia",
        "doctor_audit_key": "é a que assinou por último",
        "doctor_audit_key_unknown": "a trilha foi assinada por último com outra chave ({id}); "
        "ponha a anterior em AUDIT_HMAC_KEY_PREVIOUS",
        "doctor_not_writable": "{path} não pode ser gravado: nada seria registrado",
        "doctor_free": "{mib} MiB livres em {path}",
        "doctor_targets": "{count} destinos para alertas; teste com `solaris alerts test`",
        "doctor_no_targets": "nenhum destino para alertas: eles só aparecem no log; "
        "defina SLACK_WEBHOOK_URL ou ALERT_EMAIL",
        "doctor_no_map": "a lista de preços do LiteLLM não está ao alcance",
        "doctor_unknown_target": "{model}: o LiteLLM não conhece {target}; "
        "o provedor deve tê-lo retirado: mude o destino em database/litellm-config.yaml",
        "doctor_retired": "{model}: {target} foi retirado pelo provedor em {day}: "
        "mude o destino em database/litellm-config.yaml",
        "doctor_retires": "{model}: {target} será retirado pelo provedor em {day}",
        "doctor_none_retired": "todos os destinos do catálogo ainda existem",
        "doctor_verdict": "falhas: {failures}, avisos: {warnings}",
        "raise_unknown": "nenhum aumento em vigor tem o número {id}",
        "name_taken": "já existe uma chave ativa com o nome {name}; revogue-a antes",
        "key_unknown": "nenhuma chave ativa atende por {reference}",
        "key_ambiguous": "mais de uma chave ativa atende por {reference}; "
        "use o prefixo que `solaris keys list` mostra",
        "unknown_models": "--models: modelo desconhecido: {names}",
        "empty_models": "--models: a lista está vazia; sem a opção, a chave vale para todos",
        "models_without_key": "sem chave do provedor, as chamadas a estes modelos falham: {names} "
        "(defina {variables})",
        "models_mocked": "sem chave do provedor, estes modelos respondem com texto simulado: "
        "{names} (defina {variables})",
        "config_written": "{path}: configuração do LiteLLM, com {switched_on}",
        "nothing_switched_on": "nada além do básico",
        "cannot_write": "{path} não pode ser gravado: {reason}",
        "no_keys": "(nenhuma)",
        "budget_set": "orçamento {id} definido; vale em toda parte em até 2 segundos",
        "budget_removed": "orçamento retirado; deixa de valer em até 2 segundos",
        "no_such_budget": "não há orçamento com esse escopo, sujeito, medida e período; "
        "veja solaris budgets list",
        "bad_subject": "--subject: diga de quem é o orçamento "
        "(nada para global; um modelo que exista para model)",
        "user_changed": "pessoa {id} alterada; vale em toda parte em até 5 segundos",
        "user_made": "pessoa {id} criada: ninguém com esse id fez uma chamada ainda",
        "user_unknown": "não há ninguém com o id {id}; veja solaris users list",
        "team_changed": "equipe {id} alterada",
        "team_made": "equipe {id} criada",
        "nothing_to_set": "diga o que mudar: {options}",
        "bad_fact": "{fact}: valor inválido (vazio, longo demais ou malformado)",
        "role_missing": "DATABASE_URL nomeia o papel {role}, que o Postgres não tem; "
        "crie-o e execute `solaris db upgrade` de novo",
        "audit_good": "a trilha confere: {rows} linhas em {checkpoints} pontos de verificação "
        "desde {since}; {names} nomes; {dropped} linhas já saíram pela retenção",
        "audit_empty": "a trilha está vazia",
        "audit_no_anchor": "sem âncora ({path}): um corte no fim da trilha não apareceria",
        "audit_bad_anchor": "--anchor: {path} não é uma âncora que se possa ler",
        "audit_edited": "linha {seq} (evento {event_id}): alterada",
        "audit_removed": "linha {seq}: removida; faltam {missing} linhas a partir dela",
        "audit_inserted": "linha {seq} (evento {event_id}): inserida por outra mão",
        "audit_reordered": "linha {seq} (evento {event_id}): fora do lugar; "
        "foi assinada como linha {was_seq}",
        "audit_exchanged": "linha {seq} (evento {event_id}): deste ponto de verificação "
        "({checkpoint}) em diante, as linhas não são as que foram assinadas juntas",
        "audit_tail_cut": "linha {seq}: o fim da trilha foi cortado ou reescrito a partir dela",
        "audit_checkpoint_edited": "linha {seq} (evento {event_id}): o ponto de verificação "
        "{checkpoint}, que a assina, foi alterado ou forjado",
        "audit_checkpoint_removed": "linha {seq} (evento {event_id}): o ponto de verificação que "
        "a assina foi removido",
        "audit_unknown_key": "linha {seq}: assinada com a chave {key_id}, que não está em "
        "AUDIT_HMAC_KEY nem em AUDIT_HMAC_KEY_PREVIOUS",
        "audit_name_changed": "linha {seq} (evento {event_id}): o nome {name}, que ela usa, "
        "foi alterado",
        "audit_name_removed": "linha {seq} (evento {event_id}): o nome {name}, que ela usa, "
        "foi removido",
        "audit_drop_edited": "linha {seq}: o registro da retenção do seu mês (audit_drops) foi "
        "alterado ou forjado",
        "audit_good_before": "antes disso conferem {rows} linhas em {checkpoints} pontos de "
        "verificação",
        "retain_dropped": "mês {month} retirado: {rows} linhas; os pontos de verificação ficam",
        "retain_nothing": "nada a retirar: nenhum mês é mais antigo que AUDIT_RETENTION_DAYS "
        "({days}; 0 guarda tudo)",
        "retain_held": "nada retirado: há retenção legal em vigor ({holds}; tabela legal_holds)",
        "retain_broken": "nada retirado: a trilha não confere; veja solaris audit verify "
        "(--unverified retira mesmo assim)",
        "retain_contents": "textos de {contents} chamadas apagados",
        "retain_not_owner": "só o dono das tabelas as retira: defina MIGRATION_DATABASE_URL",
        "subject_exported": "dados de {id} gravados em {path}: entregue só a quem são",
        "subject_erase_sure": "Apagar de vez os dados pessoais de {id}? Não há volta.",
        "subject_erased": "apagado; em seu lugar fica o pseudônimo:",
        "subject_held": "retenção legal definida: nada de {id} será apagado até que seja levantada",
        "subject_unheld": "retenção legal de {id} levantada",
        "subject_unknown": "nada está guardado sobre alguém com o id {id}",
        "subject_is_held": "uma retenção legal impede apagar {id}; veja `solaris subject unhold`",
        "subject_not_held": "não há retenção legal em vigor para {id}",
        "subject_busy": "há chamadas de {id} em andamento ou reservas em seu nome, "
        "acertadas até {until}; nada foi apagado: revogue o acesso e tente de novo depois",
        "in_seconds": "daqui a segundos",
        "subject_not_owner": "o papel do Postgres não é o dono das tabelas: "
        "defina MIGRATION_DATABASE_URL",
        "bad_dimensions": "--by: use, sem repetir e separados por vírgula: {allowed}",
        "bad_span": "--from vem depois de --to",
        "bad_month": "{month}: escreva o mês como AAAA-MM",
        "recount_good": "as somas conferem com as linhas: {requests} chamadas em {sums} somas, "
        "de {first} a {last}",
        "recount_nothing": "não há nada a conferir",
        "recount_skipped": "{days} dias não foram conferidos: a retenção já descartou linhas deles",
        "recount_differs": "as somas de {day} diferem das linhas (pessoa {user}, equipe {team}, "
        "chave {of_key}, modelo {model}): as linhas dizem {counted}, a soma diz {kept}",
        "month_not_over": "{month} ainda não fechou: só se rateia um mês fechado; este fecha em "
        "{closes_at}",
        "month_dropped": "{month} não foi fechado antes de a retenção descartar linhas dele: nada "
        "prova as somas (`solaris usage` ainda as mostra)",
        "statement_changed": "o fechamento de {month} foi alterado no banco: não é o que foi "
        "gravado",
        "corrections_there": "{calls} chamadas chegaram depois do fechamento ({cost} micro-USD); "
        "veja com --corrections",
        "bad_prices": "--prices: {path} não serve:\n{problems}",
        "bad_budgets": "--budgets: {path} não serve: uma lista YAML de "
        "{{scope, subject, metric, period, limit}}; item {entry}, campo {field}",
        "replay_models": "gasto por modelo, em micro-USD:",
        "replay_stops": "quem teria sido parado:",
        "replay_no_stops": "ninguém teria sido parado",
        "no_channels": "nenhum canal configurado: os alertas vão só para o log; defina "
        "SLACK_WEBHOOK_URL, ALERT_EMAIL ou ALERT_WEBHOOK_URL",
        "channel_unknown": "não há canal com o nome {name}; os que há: {names}",
        "channel_enabled": "canal {name} ligado; o que espera por ele sai agora",
        "channel_was_enabled": "o canal {name} já estava ligado",
        "channels_off": "desligados, não recebem alertas: {names}; "
        "ligue com solaris alerts enable NOME",
        "no_alerts": "nenhum alerta em curso",
        "alert_unknown": "não há alerta em curso com o id {id}; veja solaris alerts list",
        "alert_acknowledged": "alerta {id} reconhecido: {rule} {subject}; não avisa mais até "
        "acabar ou piorar",
        "reconcile_day": "{day}: {requests} requisições comparadas; {matched} conferem "
        "({estimated} só por estimativa, {adjusted} corrigidas), {missing_here} faltam aqui, "
        "{missing_there} faltam no LiteLLM, {differing} diferem",
        "reconcile_difference": "as divergências somam US$ {amount}",
        "reconcile_adjusted": "as correções de estimativas somam US$ {amount}",
        "reconcile_open": "{day} ainda não terminou: o que está em andamento pode faltar",
        "reconcile_future": "--day: {day} ainda não começou",
        "reconcile_busy": "outra conferência está em andamento; tente de novo depois",
        "reconcile_dropped": "{day}: a retenção já descartou linhas deste dia; nada há a comparar",
        "reconcile_more": "mais {count} divergências não são mostradas; veja todas com --json",
        "reconcile_lost": "só as primeiras {count} divergências são guardadas; as contagens são "
        "de todas",
        "bill_no_day": "--bill: {path} não tem nada de {day}",
        "bill_unreadable": "--bill: {path} não pode ser lido: {reason}",
        "bill_columns": "--bill: {path}: a primeira linha não nomeia {columns}; diga o nome com "
        "--bill-columns date=...,model=...,amount=...",
        "bill_names": "--bill-columns: escreva date=NOME,model=NOME,amount=NOME",
        "bill_empty": "--bill: {path} não tem linhas",
        "bill_line": "linha {number}: {column} não se entende",
        "bill_refused": "--bill: {path} não foi usado:",
        "bill_good": "a fatura confere",
        "bill_differs": "a fatura difere em {rows} linhas",
        "yes": "sim",
        "no": "não",
    },
    "en": {
        "unusable": "the configuration cannot be used:",
        "use_running": "To use what `make run` started: set -a; . {path}; set +a",
        "database_away": "Postgres ({variable}) cannot be reached: {reason}",
        "tables_missing": "Postgres (DATABASE_URL) lacks its tables: run `solaris db upgrade`",
        "key_made": "Key {id} ({name}) is shown this once; only its hash is kept.",
        "key_revoked": "revoked: {id} ({name})",
        "key_rotated": "new key {id} ({name}), shown only this once; the old one is good for "
        "{hours} h more:",
        "key_replaced": "the key {reference} has a successor already",
        "key_changed": "changed: {id} ({name}); it binds everywhere within 5 seconds",
        "budget_raised": "raise {id} is granted until {until}; everywhere within 2 seconds",
        "raise_ended": "raise {id} is ended",
        "switch_thrown": "kill switch {id} is thrown; everywhere within 2 seconds",
        "switch_lifted": "kill switch {id} is lifted; everywhere within 2 seconds",
        "switch_unknown": "no kill switch that is thrown has the number {id}",
        "bad_switch_subject": "all is for everybody and takes no --subject; the others need one, "
        "and a model must be of the catalogue",
        "bad_reason": "the reason is a line of text, of 1 to {most} characters",
        "doctor_configuration": "can be used; {models} models in the catalogue",
        "doctor_database": "Postgres (DATABASE_URL) could not be asked: {reason}",
        "doctor_migrated": "the tables are up to date ({revision})",
        "doctor_unmigrated": "the tables are of {there}, the program of {here}: "
        "run `solaris db upgrade`",
        "doctor_clock": "{seconds} s away from Postgres' clock",
        "doctor_no_trail": "the trail is empty yet",
        "doctor_audit_key": "is the one that signed last",
        "doctor_audit_key_unknown": "the trail was last signed with another key ({id}); "
        "put the former one into AUDIT_HMAC_KEY_PREVIOUS",
        "doctor_not_writable": "{path} cannot be written: nothing would be on record",
        "doctor_free": "{mib} MiB free in {path}",
        "doctor_targets": "{count} targets for alerts; try them with `solaris alerts test`",
        "doctor_no_targets": "no target for alerts: they are in the log only; "
        "set SLACK_WEBHOOK_URL or ALERT_EMAIL",
        "doctor_no_map": "LiteLLM's price list is out of reach",
        "doctor_unknown_target": "{model}: LiteLLM does not know {target}; "
        "its provider has likely retired it: change the target in database/litellm-config.yaml",
        "doctor_retired": "{model}: {target} was retired by its provider on {day}: "
        "change the target in database/litellm-config.yaml",
        "doctor_retires": "{model}: {target} will be retired by its provider on {day}",
        "doctor_none_retired": "every target of the catalogue still exists",
        "doctor_verdict": "failures: {failures}, warnings: {warnings}",
        "raise_unknown": "no raise that lasts has the number {id}",
        "name_taken": "a live key has the name {name}; revoke it first",
        "key_unknown": "no live key answers to {reference}",
        "key_ambiguous": "more than one live key answers to {reference}; "
        "use the prefix that `solaris keys list` shows",
        "unknown_models": "--models: unknown model: {names}",
        "empty_models": "--models: the list is empty; without the option the key is good for all",
        "models_without_key": "without their provider's key, calls to these models fail: {names} "
        "(set {variables})",
        "models_mocked": "without their provider's key, these models answer with a mocked text: "
        "{names} (set {variables})",
        "config_written": "{path}: LiteLLM's configuration, with {switched_on}",
        "nothing_switched_on": "nothing beyond the basics",
        "cannot_write": "{path} cannot be written: {reason}",
        "no_keys": "(none)",
        "budget_set": "budget {id} is set; it binds everywhere within 2 seconds",
        "budget_removed": "the budget is taken away, everywhere within 2 seconds",
        "no_such_budget": "there is no budget of this scope, subject, metric and period; "
        "see solaris budgets list",
        "bad_subject": "--subject: say whose budget it is "
        "(nothing for global; a model that exists for model)",
        "user_changed": "person {id} changed; it binds everywhere within 5 seconds",
        "user_made": "person {id} made: nobody with that id has made a call yet",
        "user_unknown": "there is nobody with the id {id}; see solaris users list",
        "team_changed": "team {id} changed",
        "team_made": "team {id} made",
        "nothing_to_set": "say what to change: {options}",
        "bad_fact": "{fact}: not a good value (empty, too long or malformed)",
        "role_missing": "DATABASE_URL names the role {role}, which Postgres does not have; "
        "make it and run `solaris db upgrade` again",
        "audit_good": "the trail is good: {rows} rows in {checkpoints} checkpoints since {since}; "
        "{names} names; retention has dropped {dropped} rows",
        "audit_empty": "the trail is empty",
        "audit_no_anchor": "no anchor ({path}): a cut tail would not show",
        "audit_bad_anchor": "--anchor: {path} is no anchor that can be read",
        "audit_edited": "row {seq} (event {event_id}): edited",
        "audit_removed": "row {seq}: removed; {missing} rows are missing from there on",
        "audit_inserted": "row {seq} (event {event_id}): inserted by another hand",
        "audit_reordered": "row {seq} (event {event_id}): out of its place; "
        "it was signed as row {was_seq}",
        "audit_exchanged": "row {seq} (event {event_id}): from this checkpoint ({checkpoint}) on "
        "the rows are not those that were signed together",
        "audit_tail_cut": "row {seq}: the end of the trail was cut or rewritten from there on",
        "audit_checkpoint_edited": "row {seq} (event {event_id}): checkpoint {checkpoint}, "
        "which signs it, was edited or forged",
        "audit_checkpoint_removed": "row {seq} (event {event_id}): the checkpoint that signs it "
        "was removed",
        "audit_unknown_key": "row {seq}: signed with the key {key_id}, which is neither in "
        "AUDIT_HMAC_KEY nor in AUDIT_HMAC_KEY_PREVIOUS",
        "audit_name_changed": "row {seq} (event {event_id}): the name {name}, which it uses, "
        "was changed",
        "audit_name_removed": "row {seq} (event {event_id}): the name {name}, which it uses, "
        "was removed",
        "audit_drop_edited": "row {seq}: the record of retention of its month (audit_drops) was "
        "edited or forged",
        "audit_good_before": "before it {rows} rows in {checkpoints} checkpoints are good",
        "retain_dropped": "month {month} dropped: {rows} rows; their checkpoints stay",
        "retain_nothing": "nothing to drop: no month is older than AUDIT_RETENTION_DAYS "
        "({days}; 0 keeps everything)",
        "retain_held": "nothing dropped: a legal hold is in force ({holds}; table legal_holds)",
        "retain_broken": "nothing dropped: the trail does not verify; see solaris audit verify "
        "(--unverified drops all the same)",
        "retain_contents": "the texts of {contents} calls are gone",
        "retain_not_owner": "only the owner of the tables drops them: set MIGRATION_DATABASE_URL",
        "subject_exported": "the data of {id} are in {path}: give them to nobody else",
        "subject_erase_sure": "Erase the personal data of {id} for good? There is no way back.",
        "subject_erased": "erased; in their place there is the pseudonym:",
        "subject_held": "the legal hold is set: nothing about {id} goes until it is lifted",
        "subject_unheld": "the legal hold on {id} is lifted",
        "subject_unknown": "nothing is kept about anybody with the id {id}",
        "subject_is_held": "a legal hold forbids to erase {id}; see `solaris subject unhold`",
        "subject_not_held": "no legal hold on {id} stands",
        "subject_busy": "calls of {id} are under way, or something is held for them, "
        "settled by {until}; nothing was erased: take their access away, and try again then",
        "in_seconds": "seconds from now",
        "subject_not_owner": "the role in Postgres is not the owner of the tables: "
        "set MIGRATION_DATABASE_URL",
        "bad_dimensions": "--by: use, none twice and separated by commas: {allowed}",
        "bad_span": "--from is after --to",
        "bad_month": "{month}: write the month as YYYY-MM",
        "recount_good": "the sums are what the rows say: {requests} calls in {sums} sums, "
        "from {first} to {last}",
        "recount_nothing": "there is nothing to compare",
        "recount_skipped": "{days} days were left out: retention has dropped rows of theirs",
        "recount_differs": "the sums of {day} are not what the rows say (user {user}, team {team}, "
        "key {of_key}, model {model}): the rows say {counted}, the sum says {kept}",
        "month_not_over": "{month} is not closed yet: only a closed month is charged; this one "
        "closes at {closes_at}",
        "month_dropped": "{month} was not closed before retention dropped rows of it: nothing "
        "proves its sums (`solaris usage` still shows them)",
        "statement_changed": "the statement of {month} was changed in the database: it is not what "
        "was written down",
        "corrections_there": "{calls} calls arrived after the month was closed ({cost} micro-USD); "
        "see them with --corrections",
        "bad_prices": "--prices: {path} cannot be used:\n{problems}",
        "bad_budgets": "--budgets: {path} cannot be used: a YAML list of "
        "{{scope, subject, metric, period, limit}}; entry {entry}, field {field}",
        "replay_models": "spend by model, in micro-USD:",
        "replay_stops": "who would have been stopped:",
        "replay_no_stops": "nobody would have been stopped",
        "no_channels": "no channel is configured: alerts only go into the log; set "
        "SLACK_WEBHOOK_URL, ALERT_EMAIL or ALERT_WEBHOOK_URL",
        "channel_unknown": "there is no channel of the name {name}; there are: {names}",
        "channel_enabled": "channel {name} is on; what waits for it goes now",
        "channel_was_enabled": "channel {name} was on",
        "channels_off": "switched off, they get no alerts: {names}; "
        "switch one on with solaris alerts enable NAME",
        "no_alerts": "no alert lasts",
        "alert_unknown": "no alert of the id {id} lasts; see solaris alerts list",
        "alert_acknowledged": "alert {id} acknowledged: {rule} {subject}; nothing more is told "
        "until it is over, or worse",
        "reconcile_day": "{day}: {requests} requests compared; {matched} match "
        "({estimated} as estimates only, {adjusted} corrected), {missing_here} are missing here, "
        "{missing_there} are missing at LiteLLM, {differing} differ",
        "reconcile_difference": "the discrepancies come to US$ {amount}",
        "reconcile_adjusted": "corrections of estimates come to US$ {amount}",
        "reconcile_open": "{day} is not over: what is under way may be missing",
        "reconcile_future": "--day: {day} has not begun",
        "reconcile_busy": "another reconciliation is under way; try again later",
        "reconcile_dropped": "{day}: retention has dropped rows of this day; there is nothing to "
        "compare with",
        "reconcile_more": "{count} more discrepancies are not shown; see them all with --json",
        "reconcile_lost": "only the first {count} discrepancies are kept; the counts are of all",
        "bill_no_day": "--bill: {path} has nothing of {day}",
        "bill_unreadable": "--bill: {path} cannot be read: {reason}",
        "bill_columns": "--bill: {path}: the first line does not name {columns}; say how they are "
        "called with --bill-columns date=...,model=...,amount=...",
        "bill_names": "--bill-columns: write date=NAME,model=NAME,amount=NAME",
        "bill_empty": "--bill: {path} has no lines",
        "bill_line": "line {number}: {column} cannot be read",
        "bill_refused": "--bill: {path} was not used:",
        "bill_good": "the bill agrees",
        "bill_differs": "the bill differs in {rows} rows",
        "yes": "yes",
        "no": "no",
    },
}

# The heads of the table of keys, by the names that `--json` has.
KEY_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "id": "id",
        "name": "nome",
        "prefix": "prefixo",
        "user": "pessoa",
        "team": "equipe",
        "role": "papel",
        "trusted": "confiável",
        "models": "modelos",
        "created_at": "criada",
        "expires_at": "expira",
        "replaced_at": "substituída",
        "revoked_at": "revogada",
    },
    "en": {
        "id": "id",
        "name": "name",
        "prefix": "prefix",
        "user": "user",
        "team": "team",
        "role": "role",
        "trusted": "trusted",
        "models": "models",
        "created_at": "created",
        "expires_at": "expires",
        "replaced_at": "replaced",
        "revoked_at": "revoked",
    },
}

RAISE_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "id": "id",
        "budget_id": "orçamento",
        "subject": "de quem",
        "amount": "aumento",
        "reason": "motivo",
        "created_at": "desde",
        "created_by": "por",
        "expires_at": "até",
        "ended_at": "encerrado",
        "ended_by": "encerrado por",
    },
    "en": {
        "id": "id",
        "budget_id": "budget",
        "subject": "subject",
        "amount": "amount",
        "reason": "reason",
        "created_at": "since",
        "created_by": "by",
        "expires_at": "until",
        "ended_at": "ended",
        "ended_by": "ended by",
    },
}

KILL_SWITCH_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "id": "id",
        "scope": "alcance",
        "subject": "de quem",
        "reason": "motivo",
        "thrown_at": "desde",
        "thrown_by": "por",
        "expires_at": "até",
        "lifted_at": "desfeito",
        "lifted_by": "desfeito por",
    },
    "en": {
        "id": "id",
        "scope": "scope",
        "subject": "subject",
        "reason": "reason",
        "thrown_at": "since",
        "thrown_by": "by",
        "expires_at": "until",
        "lifted_at": "lifted",
        "lifted_by": "lifted by",
    },
}

BUDGET_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "id": "id",
        "scope": "escopo",
        "subject": "de quem",
        "metric": "medida",
        "period": "período",
        "mode": "modo",
        "limit": "limite",
        "raised": "aumento",
        "posted": "usado",
        "pending": "reservado",
        "left": "resta",
        "would_refuse": "recusaria",
        "credited": "devolvido",
        "renews_at": "renova",
    },
    "en": {
        "id": "id",
        "scope": "scope",
        "subject": "subject",
        "metric": "metric",
        "period": "period",
        "mode": "mode",
        "limit": "limit",
        "raised": "raised",
        "posted": "posted",
        "pending": "pending",
        "left": "left",
        "would_refuse": "would refuse",
        "credited": "credited",
        "renews_at": "renews",
    },
}

PERSON_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "id": "id",
        "name": "nome",
        "email": "e-mail",
        "role": "papel no cliente",
        "team": "equipe",
        "team_assigned": "atribuída",
        "first_key": "primeira chave",
        "created_at": "registrada",
        "first_seen_at": "primeira vez",
        "last_seen_at": "última vez",
    },
    "en": {
        "id": "id",
        "name": "name",
        "email": "e-mail",
        "role": "role at the client",
        "team": "team",
        "team_assigned": "assigned",
        "first_key": "first key",
        "created_at": "recorded",
        "first_seen_at": "first seen",
        "last_seen_at": "last seen",
    },
}

TEAM_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {"id": "id", "name": "nome", "people": "pessoas", "created_at": "registrada"},
    "en": {"id": "id", "name": "name", "people": "people", "created_at": "recorded"},
}

OPERATION_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {"at": "quando", "operation": "operação", "subject": "titular", "by": "por quem"},
    "en": {"at": "when", "operation": "operation", "subject": "subject", "by": "by whom"},
}

_SUMS_PT = {
    "requests": "chamadas",
    "failed": "falhas",
    "estimated": "estimadas",
    "input_tokens": "tokens de entrada",
    "output_tokens": "tokens de saída",
    "cost_micro_usd": "custo (micro-USD)",
}
_SUMS_EN = {
    "requests": "requests",
    "failed": "failed",
    "estimated": "estimated",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "cost_micro_usd": "cost (micro-USD)",
}
_PLACE_PT = {
    "user": "pessoa",
    "team": "equipe",
    "model": "modelo",
    "key": "chave",
    "day": "dia",
}
_PLACE_EN = {"user": "user", "team": "team", "model": "model", "key": "key", "day": "day"}

USAGE_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": _PLACE_PT | _SUMS_PT,
    "en": _PLACE_EN | _SUMS_EN,
}

EVENT_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "at": "quando (UTC)",
        "event": "evento",
        "user": "pessoa",
        "team": "equipe",
        "key": "chave",
        "model": "modelo",
        "status": "status",
        "tokens": "tokens",
        "cost": "custo",
        "request_id": "requisição",
    },
    "en": {
        "at": "at (UTC)",
        "event": "event",
        "user": "user",
        "team": "team",
        "key": "key",
        "model": "model",
        "status": "status",
        "tokens": "tokens",
        "cost": "cost",
        "request_id": "request",
    },
}

CHANNEL_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "name": "nome",
        "place": "destino",
        "enabled": "ligado",
        "disabled_at": "desligado em",
        "reason": "motivo",
        "waiting": "à espera",
        "last_sent_at": "último envio",
    },
    "en": {
        "name": "name",
        "place": "goes to",
        "enabled": "on",
        "disabled_at": "off since",
        "reason": "reason",
        "waiting": "waiting",
        "last_sent_at": "last sent",
    },
}

ALERT_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "id": "id",
        "severity": "gravidade",
        "state": "estado",
        "rule": "regra",
        "subject": "de quê",
        "opened_at": "desde",
        "seen_at": "visto por último",
        "total": "ocorrências",
        "untold": "não avisadas",
    },
    "en": {
        "id": "id",
        "severity": "severity",
        "state": "state",
        "rule": "rule",
        "subject": "of what",
        "opened_at": "since",
        "seen_at": "last seen",
        "total": "times",
        "untold": "untold",
    },
}

RULE_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "rule": "regra",
        "severity": "gravidade",
        "more_than": "mais de",
        "within_s": "em (s)",
        "window_s": "um aviso a cada (s)",
        "quiet_s": "acaba depois de (s)",
    },
    "en": {
        "rule": "rule",
        "severity": "severity",
        "more_than": "more than",
        "within_s": "within (s)",
        "window_s": "one message in (s)",
        "quiet_s": "over after (s)",
    },
}

ALERT_TEST_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {"name": "nome", "place": "destino", "ok": "chegou", "error": "motivo"},
    "en": {"name": "name", "place": "goes to", "ok": "arrived", "error": "reason"},
}

REPLAY_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "calls": "chamadas",
        "tokens": "tokens",
        "cost_micro_usd": "custou",
        "replayed_micro_usd": "teria custado",
        "unpriced_calls": "sem novo preço",
        "refused_calls": "chamadas recusadas",
        "refused_tokens": "tokens recusados",
        "refused_micro_usd": "custo recusado",
        "model": "modelo",
        "scope": "escopo",
        "subject": "de quem",
        "metric": "medida",
        "period": "período",
        "limit": "limite",
        "mode": "modo",
        "first_at": "primeira vez (UTC)",
        "first_request_id": "primeira requisição",
        "periods": "períodos",
    },
    "en": {
        "calls": "calls",
        "tokens": "tokens",
        "cost_micro_usd": "cost",
        "replayed_micro_usd": "would have cost",
        "unpriced_calls": "without a new price",
        "refused_calls": "calls refused",
        "refused_tokens": "tokens refused",
        "refused_micro_usd": "cost refused",
        "model": "model",
        "scope": "scope",
        "subject": "subject",
        "metric": "metric",
        "period": "period",
        "limit": "limit",
        "mode": "mode",
        "first_at": "first (UTC)",
        "first_request_id": "first request",
        "periods": "periods",
    },
}


# What `solaris reconcile` says of a model, of a request and of a bill's line; money in micro-USD.
RECONCILIATION_COLUMNS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "day": "dia",
        "model": "modelo",
        "matched": "conferem",
        "missing_here": "faltam aqui",
        "missing_there": "faltam lá",
        "differing": "diferem",
        "adjusted": "corrigidas",
        "our_micro_usd": "nosso custo",
        "litellm_micro_usd": "custo do LiteLLM",
        "bill_micro_usd": "fatura",
        "difference_micro_usd": "diferença",
        "good": "confere",
        "kind": "o quê",
        "reason": "por quê",
        "request_id": "requisição",
        "tokens": "tokens aqui/lá",
        "cost": "custo aqui/lá",
    },
    "en": {
        "day": "day",
        "model": "model",
        "matched": "match",
        "missing_here": "missing here",
        "missing_there": "missing there",
        "differing": "differ",
        "adjusted": "corrected",
        "our_micro_usd": "our cost",
        "litellm_micro_usd": "LiteLLM's cost",
        "bill_micro_usd": "bill",
        "difference_micro_usd": "difference",
        "good": "agrees",
        "kind": "what",
        "reason": "why",
        "request_id": "request",
        "tokens": "tokens here/there",
        "cost": "cost here/there",
    },
}

# Why a request is a discrepancy; for people, scripts read the codes.
RECONCILIATION_REASONS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "missing_here": "falta aqui",
        "missing_there": "falta lá",
        "differing": "difere",
        "not_by_the_proxy": "não passou pelo proxy",
        "not_on_record": "sem registro",
        "only_in_the_ledger": "só no livro-razão",
        "refused": "recusada aqui",
        "not_charged": "não cobrada aqui",
        "failed_there": "o LiteLLM diz que falhou",
        "no_event": "o LiteLLM nada disse",
        "event_lost": "só o cabeçalho da resposta",
        "input_tokens": "tokens de entrada",
        "output_tokens": "tokens de saída",
        "cost": "custo",
        "stated_cost": "custo no cabeçalho",
    },
    "en": {
        "missing_here": "missing here",
        "missing_there": "missing there",
        "differing": "differs",
        "not_by_the_proxy": "not by the proxy",
        "not_on_record": "not on record",
        "only_in_the_ledger": "only in the ledger",
        "refused": "refused here",
        "not_charged": "not charged here",
        "failed_there": "LiteLLM says it failed",
        "no_event": "LiteLLM said nothing",
        "event_lost": "only the answer's header",
        "input_tokens": "input tokens",
        "output_tokens": "output tokens",
        "cost": "cost",
        "stated_cost": "cost in the header",
    },
}


def command_text(key: str, locale: str, /, **values: object) -> str:
    return TEXTS[locale][key].format(**values)
