/**
 * The peers: what npm can install, each as its own documentation shows it, and nginx where it is there.
 */
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Abilities, type Contestant, removeFiles, type Site } from './contestant.ts'
import { freePort, start } from './processes.ts'
import { base64, chunks, form, playback, tus } from './protocols.ts'

/** A server of `peers/`, on the Node that runs the bench. */
const nodePeer = (name: string, module: string, abilitiesOf: (site: Site) => Abilities, keepsMedia = false) => ({
  name,
  async start(site: Site) {
    const port = await freePort()
    const file = path.join(import.meta.dirname, 'peers', module)
    const directory = keepsMedia ? site.mediaDir : site.dir
    const running = await start([process.execPath, file, directory, String(port)], { port, cwd: site.dir })
    return { running, can: abilitiesOf(site), sweep: () => removeFiles(site.dir) }
  },
})

const METADATA = `filename ${base64('call.wav')},filetype ${base64('audio/wav')}`
const tusPeer = ({ dir }: Site) =>
  tus('/files', {}, METADATA, async (_, _completed, address) => path.join(dir, path.basename(address)))

export const tusExpress: Contestant = nodePeer('@tus/server in Express', 'tus-express.ts', tusPeer)
export const tusBare: Contestant = nodePeer('@tus/server on node:http', 'tus-bare.ts', tusPeer)
/** About how far a Node server could get that takes digests. */
export const nodeBare: Contestant = nodePeer('node:http and a digest', 'node-bare.ts', tusPeer)

const formPeer = ({ dir }: Site): Abilities => ({
  form: (body) =>
    form({ path: '/recordings', status: 201 }, body, async (_, { body: told }) =>
      path.join(dir, JSON.parse(told.toString()).filename),
    ),
})
export const busboy: Contestant = nodePeer('busboy to disk', 'form-busboy.ts', formPeer)
export const multer: Contestant = nodePeer('multer to disk', 'form-multer.ts', formPeer)

export const jsonAppend: Contestant = nodePeer('express.json + append', 'json-append.ts', ({ dir }) => ({
  chunks: (body) =>
    chunks(
      {
        begin: async () => randomUUID(),
        async append(connection, id, _index, chunk) {
          await connection.ask(204, {
            method: 'POST',
            path: `/recordings/${id}/chunks`,
            headers: { 'Content-Type': 'application/json' },
            body: Buffer.concat([Buffer.from('{"chunk":"'), chunk, Buffer.from('"}')]),
          })
        },
        fileOf: async (_, id) => path.join(dir, id),
      },
      body,
    ),
}))

const playbackPeer = ({ mediaName, media }: Site): Abilities => {
  const { ranges, whole } = playback(`/${mediaName}`, {}, media)
  return { ranges: async () => ranges(), whole: async () => whole() }
}
export const sendFile: Contestant = nodePeer('Express sendFile', 'send-file.ts', playbackPeer, true)

const NGINX = '/usr/sbin/nginx'

/** With `tcp_nopush` a range takes 44 ms on the loopback interface: off. */
const nginxConfiguration = (port: number, dir: string, mediaDir: string) => `
daemon off;
worker_processes 1;
pid ${dir}/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush off;
  keepalive_requests 100000000;
  types { audio/wav wav; }
  client_body_temp_path ${dir}/client-body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi;
  scgi_temp_path ${dir}/scgi;
  server {
    listen 127.0.0.1:${port};
    root ${mediaDir};
  }
}
`

export const nginx: Contestant = {
  name: 'nginx',
  missing: () => (existsSync(NGINX) ? undefined : 'nginx is not installed'),
  async start(site) {
    const { dir, mediaDir } = site
    const port = await freePort()
    const file = path.join(dir, 'nginx.conf')
    mkdirSync(dir, { recursive: true })
    // Root would give its worker away to a user who may not read here.
    const user = process.getuid?.() === 0 ? 'user root;' : ''
    writeFileSync(file, user + nginxConfiguration(port, dir, mediaDir))
    const running = await start([NGINX, '-p', dir, '-c', file, '-e', 'stderr'], { port, cwd: dir })
    return { running, can: playbackPeer(site), sweep: () => {} }
  },
}
