/**
 * drizzle-orm as CommonJS: V8 links its ES modules, rings of `export *`, with 150 MB of garbage and in half a second
 * (Node 24.21, drizzle-orm 0.45); its CommonJS takes 20 MB.
 */
import { registerHooks } from 'node:module'

/** Takes effect for what is loaded afterwards: its caller imports the rest dynamically. Twice is harmless. */
export function loadDrizzleAsCommonJs(): void {
  registerHooks({
    resolve(specifier, context, nextResolve) {
      if (!/^drizzle-orm(\/|$)/.test(specifier)) return nextResolve(specifier, context)
      return nextResolve(specifier, { ...context, conditions: ['node', 'require'] })
    },
  })
}
