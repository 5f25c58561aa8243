// LangChain's ChatOpenAI with the settings that LibreChat gives it for a custom endpoint:
// usage is not asked for, openai-node does not retry, LangChain's own layer does (six times, or
// as often as `addParams.maxRetries` says).
import { ChatOpenAI } from '@langchain/openai';

import { report, stopAfter } from './outcome.mjs';

await report(async (plan, outcome) => {
  const model = new ChatOpenAI({
    model: plan.body.model,
    apiKey: plan.apiKey,
    user: plan.body.user,
    streaming: plan.body.stream ?? true,
    streamUsage: false,
    ...(plan.maxRetries === undefined ? {} : { maxRetries: plan.maxRetries }),
    configuration: { baseURL: plan.baseURL, defaultHeaders: plan.headers, maxRetries: 0 },
  });
  const bound = plan.body.tools ? model.bindTools(plan.body.tools) : model;
  const options = { signal: stopAfter(plan) };
  if (plan.body.stream === false) {
    outcome.text = (await bound.invoke(plan.body.messages, options)).content;
    return;
  }
  for await (const chunk of await bound.stream(plan.body.messages, options)) {
    outcome.chunks += 1;
    outcome.text += chunk.content;
    outcome.toolCalls = chunk.tool_call_chunks?.length ? chunk.tool_call_chunks : outcome.toolCalls;
  }
});
