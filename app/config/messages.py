"""What people read when a call is refused or fails, by error code and locale.

One sentence, one line, under 240 characters: LibreChat shows it in the chat. No braces in the
result (clients try to parse them as JSON), no internals, nobody else's figures.
"""

from __future__ import annotations

MAX_MESSAGE_LENGTH = 239

MESSAGES: dict[str, dict[str, str]] = {
    "pt_BR": {
        "invalid_api_key": "Chave de API ausente, desconhecida, expirada ou revogada. "
        "Peça uma chave ao administrador.",
        "identity_rejected": "A identidade enviada com a chave não pôde ser verificada.",
        "sign_in_refused": "Não foi possível entrar: a chave ou o link não abre estas páginas, "
        "ou já não abre.",
        "too_many_sign_ins": "Houve tentativas demais de entrar a partir deste endereço. "
        "Espere alguns minutos e tente de novo.",
        "permission_denied": "Esta chave não tem permissão para esta operação.",
        "model_not_allowed": "Sua chave não tem permissão para usar o modelo {model}.",
        "access_suspended": "O uso de IA está suspenso na empresa. Motivo: {reason}",
        "team_suspended": "O uso de IA está suspenso para a sua equipe. Motivo: {reason}",
        "user_suspended": "O seu acesso à IA está suspenso. Motivo: {reason}",
        "model_suspended": "O modelo {model} está suspenso. Motivo: {reason}",
        "model_not_found": "O modelo {model} não existe. Veja a lista em /v1/models.",
        "invalid_request_error": "Pedido inválido: {detail}",
        "request_too_large": "O pedido é grande demais: o limite é de {limit_mb} MB.",
        "insufficient_quota": "O orçamento disponível para este pedido acabou. "
        "Fale com o administrador.",
        "rate_limit_exceeded": "O modelo está recebendo pedidos demais agora. "
        "Tente de novo em instantes.",
        "too_many_calls": "Você já tem pedidos demais em andamento ao mesmo tempo. "
        "Espere um deles terminar e tente de novo.",
        "overloaded": "O serviço está no limite de pedidos simultâneos. "
        "Tente de novo em instantes.",
        "draining": "O servidor está sendo reiniciado. Envie a mensagem de novo.",
        "upstream_unavailable": "O serviço de IA está indisponível no momento. "
        "Tente de novo em alguns minutos.",
        "upstream_timeout": "O modelo demorou demais para responder. Tente de novo.",
        "upstream_error": "O provedor do modelo não respondeu corretamente. Tente de novo; "
        "se continuar, avise o administrador.",
        "audit_unavailable": "O serviço não consegue registrar as chamadas agora. "
        "Tente novamente em instantes.",
        "database_unavailable": "O serviço não conseguiu verificar sua chave agora. "
        "Tente de novo em instantes.",
        "invalid_signature": "Assinatura inválida.",
        "not_found": "Este endereço não existe.",
        "nothing_there": "Nada foi encontrado com este identificador: {id}.",
        "already_there": "Já existe, com este nome ou identificador: {id}.",
        "ambiguous": "Mais de uma chave atende por {id}; use o número da chave.",
        "no_longer": "Isto já acabou e não pode mais ser mudado: {id}.",
        "busy": "Isto já está sendo feito por outro processo. Tente de novo em instantes.",
        "method_not_allowed": "Este endereço não aceita este método.",
        "http_error": "O pedido não pôde ser atendido.",
        "internal_error": "Erro interno (pedido {request_id}). "
        "Informe este código ao administrador.",
    },
    "en": {
        "invalid_api_key": "API key missing, unknown, expired or revoked. "
        "Ask your administrator for a key.",
        "identity_rejected": "The identity sent with this key could not be verified.",
        "sign_in_refused": "You could not be signed in: the key or the link does not open these "
        "pages, or not any more.",
        "too_many_sign_ins": "Too many attempts to sign in came from this address. "
        "Wait some minutes and try again.",
        "permission_denied": "This key is not allowed to do that.",
        "model_not_allowed": "Your key is not allowed to use the model {model}.",
        "access_suspended": "The use of AI is suspended in the company. Reason: {reason}",
        "team_suspended": "The use of AI is suspended for your team. Reason: {reason}",
        "user_suspended": "Your access to AI is suspended. Reason: {reason}",
        "model_suspended": "The model {model} is suspended. Reason: {reason}",
        "model_not_found": "The model {model} does not exist. See the list at /v1/models.",
        "invalid_request_error": "Invalid request: {detail}",
        "request_too_large": "The request is too large: the limit is {limit_mb} MB.",
        "insufficient_quota": "The budget for this request is used up. Talk to your administrator.",
        "rate_limit_exceeded": "The model is receiving too many requests. Try again in a moment.",
        "too_many_calls": "You already have too many requests running at the same time. "
        "Wait for one of them to finish, then try again.",
        "overloaded": "The service is at its limit of simultaneous requests. Try again shortly.",
        "draining": "The server is restarting. Send the message again.",
        "upstream_unavailable": "The AI service is unavailable. Try again in a few minutes.",
        "upstream_timeout": "The model took too long to answer. Try again.",
        "upstream_error": "The model's provider did not answer properly. Try again; "
        "if it goes on, tell your administrator.",
        "audit_unavailable": "The service cannot put calls on record just now. Try again shortly.",
        "database_unavailable": "The service could not check your key just now. Try again shortly.",
        "invalid_signature": "Invalid signature.",
        "not_found": "This address does not exist.",
        "nothing_there": "Nothing was found under this id: {id}.",
        "already_there": "There is one of this name or id already: {id}.",
        "ambiguous": "More than one key answers to {id}; use the key's number.",
        "no_longer": "This is over, and cannot be changed any more: {id}.",
        "busy": "Another process is doing this already. Try again in a moment.",
        "method_not_allowed": "This address does not accept this method.",
        "http_error": "The request could not be served.",
        "internal_error": "Internal error (request {request_id}). "
        "Give this id to your administrator.",
    },
}

# What is wrong with a field, for `invalid_request_error`; keys are used by the schemas.
DETAILS: dict[str, dict[str, str]] = {
    "pt_BR": {
        "not_json": "o corpo não é um objeto JSON válido.",
        "required": "o campo {field} é obrigatório.",
        "not_text": "o campo {field} deve ser um texto não vazio.",
        "not_list": "o campo {field} deve ser uma lista não vazia.",
        "not_object": "o campo {field} deve ser um objeto.",
        "not_boolean": "o campo {field} deve ser true ou false.",
        "not_count": "o campo {field} deve ser um número inteiro maior que zero.",
        "not_text_or_list": "o campo {field} deve ser um texto ou uma lista, e não vazio.",
        "not_supported": "o campo {field} não é aceito aqui.",
        "not_number": "o campo {field} deve ser um número.",
        "out_of_range": "o valor do campo {field} está fora dos limites.",
        "not_a_time": "o campo {field} deve ser uma data e hora (ISO 8601) plausível.",
        "not_an_event": "não há nele um evento que se reconheça.",
        "no_events": "não há eventos nele.",
        "too_many_events": "há eventos demais nele; envie menos de cada vez.",
        "not_unpacked": "o corpo não pôde ser descompactado; envie-o como está ou com gzip.",
        "wrong_mode": "o modelo {model} não serve para este tipo de pedido.",
        "no_vision": "o modelo {model} não aceita imagens.",
        "no_tools": "o modelo {model} não aceita ferramentas (tools).",
        "too_long": "o texto é longo demais para o modelo {model}.",
        "unknown_field": "o campo {field} não existe aqui.",
        "not_integer": "o campo {field} deve ser um número inteiro.",
        "not_printable": "o campo {field} deve ser um texto sem caracteres de controle.",
        "not_this_long": "o campo {field} deve ter de {allowed} caracteres.",
        "not_between": "o campo {field} deve estar entre {allowed}.",
        "not_one_of": "o campo {field} deve ser um destes: {allowed}.",
        "not_a_day": "o campo {field} deve ser um dia, como 2026-11-30.",
        "not_past": "o campo {field} deve ser um dia que já tenha começado.",
        "not_in_order": "o campo {field} deve ser um dia que não venha depois do último.",
        "not_in_future": "o campo {field} deve ser um momento que ainda virá.",
        "not_a_cursor": "o campo {field} não é um cursor desta lista.",
        "not_a_fact": "o campo {field} não pode ser este: use de 1 a 256 caracteres visíveis.",
        "not_models": "o campo {field} tem modelos que não existem: {allowed}.",
        "not_whose": "o campo {field} deve dizer de quem, no orçamento de todos; nos outros, "
        "é o do próprio orçamento.",
        "not_a_subject": "o campo {field} deve dizer de quem é o orçamento: vazio só no global, "
        "e um modelo que exista no de modelo.",
        "nothing_to_change": "não há nele nada que mudar.",
        "not_null": "o campo {field} não pode ser nulo.",
        "not_valid": "o campo {field} não é válido.",
        "refused_upstream": "o provedor recusou o pedido: {reason}",
        "refused_upstream_silent": "o provedor recusou o pedido.",
    },
    "en": {
        "not_json": "the body is not a valid JSON object.",
        "required": "the field {field} is required.",
        "not_text": "the field {field} must be a non-empty text.",
        "not_list": "the field {field} must be a non-empty list.",
        "not_object": "the field {field} must be an object.",
        "not_boolean": "the field {field} must be true or false.",
        "not_count": "the field {field} must be a whole number above zero.",
        "not_text_or_list": "the field {field} must be a text or a list, and not empty.",
        "not_supported": "the field {field} is not supported here.",
        "not_number": "the field {field} must be a number.",
        "out_of_range": "the value of the field {field} is out of range.",
        "not_a_time": "the field {field} must be a plausible date and time (ISO 8601).",
        "not_an_event": "it holds no event that is known here.",
        "no_events": "it holds no events.",
        "too_many_events": "it holds too many events; send fewer at a time.",
        "not_unpacked": "the body could not be unpacked; send it as it is, or with gzip.",
        "wrong_mode": "the model {model} is not for this kind of request.",
        "no_vision": "the model {model} does not take images.",
        "no_tools": "the model {model} does not take tools.",
        "too_long": "the text is too long for the model {model}.",
        "unknown_field": "there is no field {field} here.",
        "not_integer": "the field {field} must be a whole number.",
        "not_printable": "the field {field} must be a text without control characters.",
        "not_this_long": "the field {field} must have {allowed} characters.",
        "not_between": "the field {field} must be between {allowed}.",
        "not_one_of": "the field {field} must be one of: {allowed}.",
        "not_a_day": "the field {field} must be a day, such as 2026-11-30.",
        "not_past": "the field {field} must be a day that has begun.",
        "not_in_order": "the field {field} must be a day that is not after the last one.",
        "not_in_future": "the field {field} must be a moment that is still to come.",
        "not_a_cursor": "the field {field} is not a cursor of this list.",
        "not_a_fact": "the field {field} cannot be this: use 1 to 256 visible characters.",
        "not_models": "the field {field} has models that do not exist: {allowed}.",
        "not_whose": "the field {field} must say for whom, of a budget for everybody; of others, "
        "it is the budget's own.",
        "not_a_subject": "the field {field} must say whose budget it is: empty for the global one "
        "only, and a model that exists for a model's.",
        "nothing_to_change": "it holds nothing to change.",
        "not_null": "the field {field} cannot be null.",
        "not_valid": "the field {field} is not valid.",
        "refused_upstream": "the provider refused the request: {reason}",
        "refused_upstream_silent": "the provider refused the request.",
    },
}

# What `/` says to whoever opens the address in a browser.
WELCOME: dict[str, str] = {
    "pt_BR": "Isto é uma API: em seu cliente, use este endereço seguido de /v1, com a chave que "
    "o administrador lhe der.",
    "en": "This is an API: in your client, use this address followed by /v1, with a key from your "
    "administrator.",
}


def message_for(code: str, locale: str, /, **values: object) -> str:
    """Return the sentence for ``code``; ``values`` fill its places."""
    return _fill(MESSAGES[locale][code], values)


def detail_for(detail: str, locale: str, /, **values: object) -> str:
    return _fill(DETAILS[locale][detail], values)


def _fill(template: str, values: dict[str, object]) -> str:
    # A caller's own text goes in on one line, never as a template, without braces, cut to fit.
    room = MAX_MESSAGE_LENGTH - len(template)
    return template.format(**{name: _one_line(value)[:room] for name, value in values.items()})


def _one_line(value: object) -> str:
    return " ".join(str(value).replace("{", "(").replace("}", ")").split())
