/** The environment of an npm that has nothing to do with the one that runs the tests. */

/** Who asks which registry, and how, stays; what leads a second npm back to this project goes. */
export const freshEnvironment = (): Record<string, string | undefined> =>
  Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) =>
        !/^(npm_(package|lifecycle|command|execpath|node_execpath|config_local_prefix|config_prefix)|VITEST|NODE_ENV$|INIT_CWD$)/.test(
          name,
        ),
    ),
  )
