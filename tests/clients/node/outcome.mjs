// What a client saw, as one line of JSON on standard output.

export async function report(run) {
  const plan = JSON.parse(process.argv[2]);
  const outcome = { text: '', chunks: 0 };
  try {
    await run(plan, outcome);
  } catch (error) {
    outcome.error = {
      name: error.constructor.name,
      status: error.status ?? null,
      code: error.code ?? error.error?.code ?? null,
      message: error.message ?? String(error),
      requestId: error.requestID ?? error.request_id ?? null,
    };
  }
  console.log(JSON.stringify(outcome));
}

// Leave in the middle, as LibreChat's stop button does.
export function stopAfter(plan) {
  const controller = new AbortController();
  if (plan.abortAfterMs) setTimeout(() => controller.abort(), plan.abortAfterMs);
  return controller.signal;
}
