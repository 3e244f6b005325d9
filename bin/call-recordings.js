#!/usr/bin/env node
/**
 * The command. Says which Node is needed before anything loads that an older one chokes on: there a `.ts` file is an
 * obscure error and the database driver a segmentation fault. Hence plain JavaScript that Node 12 parses.
 *
 * A clone runs its source; a package has none, and runs its bundle.
 */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)

// Types are stripped without a flag since 22.18 and, in the line between, 23.6.
const stripsTypes = major === 23 ? minor >= 6 : major > 22 || (major === 22 && minor >= 18)
if (stripsTypes) run()
else refuse()

function run() {
  const [first, source, bundle] = ['../src/db/drizzle-as-commonjs.ts', '../src/cli.ts', '../dist/cli.js']
  import('node:fs')
    .then((fs) => {
      if (!fs.existsSync(new URL(source, import.meta.url))) return import(bundle)
      return import(first).then(({ loadDrizzleAsCommonJs }) => {
        loadDrizzleAsCommonJs()
        return import(source)
      })
    })
    .then(({ main }) => main(process.argv.slice(2)))
    .catch((error) => {
      // The settings' faults are for the operator; anything else is ours, with its stack.
      console.error(error && error.name === 'ConfigError' ? error.message : error)
      process.exit(1)
    })
}

function refuse() {
  const found = `call-recordings needs Node 22.18 or newer; this is ${process.version} (${process.execPath}).`
  // biome-ignore lint/style/useNodejsImportProtocol: Node 12 knows no such protocol
  void import('fs').then((fs) => {
    const pinned = fs.existsSync(new URL('../node_modules/node/package.json', import.meta.url))
    const way = pinned ? 'A fitting one is installed beside it: `npm start` and `npx call-recordings` use it.' : ''
    console.error(`${found} ${way}`.trim())
    process.exit(1)
  })
}
