// Judge a librechat.yaml by LibreChat's own schema: node validate_librechat.mjs FILE
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { configSchema } from 'librechat-data-provider';

const yaml = createRequire(import.meta.url)('js-yaml');
const result = configSchema.strict().safeParse(yaml.load(readFileSync(process.argv[2], 'utf8')));
console.log(JSON.stringify({ valid: result.success, problems: result.error?.issues ?? [] }));
