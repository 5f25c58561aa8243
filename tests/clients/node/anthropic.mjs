// @anthropic-ai/sdk, unmodified: node anthropic.mjs '{"baseURL": …, "apiKey": …, "body": {…}}'
import Anthropic from '@anthropic-ai/sdk';

import { report, stopAfter } from './outcome.mjs';

await report(async (plan, outcome) => {
  const { baseURL, apiKey, maxRetries, headers } = plan;
  const client = new Anthropic({ baseURL, apiKey, maxRetries, defaultHeaders: headers });
  const options = { signal: stopAfter(plan) };
  if (!plan.body.stream) {
    const message = await client.messages.create(plan.body, options);
    outcome.text = message.content[0].text;
    outcome.usage = message.usage;
    outcome.requestId = message._request_id ?? null;
    return;
  }
  const { stream: _, ...body } = plan.body;
  const stream = client.messages.stream(body, options);
  stream.on('text', (text) => {
    outcome.chunks += 1;
    outcome.text += text;
  });
  outcome.usage = (await stream.finalMessage()).usage;
});
