// openai-node, unmodified: node openai.mjs '{"baseURL": …, "apiKey": …, "api": "chat", "body": {…}}'
import OpenAI from 'openai';

import { report, stopAfter } from './outcome.mjs';

const APIS = {
  chat: (client, body, options) => client.chat.completions.create(body, options),
  responses: (client, body, options) => client.responses.create(body, options),
  embeddings: (client, body, options) => client.embeddings.create(body, options),
  models: (client, _body, options) => client.models.list(options),
};

await report(async (plan, outcome) => {
  const { baseURL, apiKey, maxRetries, headers } = plan;
  const client = new OpenAI({ baseURL, apiKey, maxRetries, defaultHeaders: headers });
  const answer = await APIS[plan.api](client, plan.body, { signal: stopAfter(plan) });
  outcome.requestId = answer._request_id ?? null;
  if (plan.api === 'models') outcome.models = answer.data.map((model) => model.id);
  else if (plan.api === 'embeddings') outcome.embedding = answer.data[0].embedding;
  else if (!plan.body.stream) {
    outcome.text = answer.choices?.[0].message.content ?? answer.output_text;
    outcome.usage = answer.usage;
  } else {
    for await (const chunk of answer) {
      outcome.chunks += 1;
      outcome.text += chunk.choices?.[0]?.delta?.content ?? chunk.delta ?? '';
      outcome.reasoning = (outcome.reasoning ?? '') + (chunk.choices?.[0]?.delta?.reasoning_content ?? '');
      outcome.usage = chunk.usage ?? chunk.response?.usage ?? outcome.usage;
      outcome.last = chunk.type ?? chunk.choices?.[0]?.finish_reason ?? null;
    }
  }
});
