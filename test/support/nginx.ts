/** Debian's nginx with deploy/nginx.conf as it is, but for the lines marked SET. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from './ports.ts'

export const hasNginx = spawnSync('nginx', ['-v']).status === 0

const CONFIGURATION = fileURLToPath(new URL('../../deploy/nginx.conf', import.meta.url))

/** The site's configuration with each marked line set; a line that is not there, or not marked, is a fault of the test. */
function configured(settings: Record<string, string>): string {
  const left = new Set(Object.keys(settings))
  const lines = readFileSync(CONFIGURATION, 'utf8').split('\n')
  const set = lines.map((line) => {
    const directive = /^\s*(\w+) .*; # SET/.exec(line)?.[1]
    if (directive === undefined) return line
    const value = settings[directive]
    if (value === undefined)
      throw new Error(`deploy/nginx.conf: ${directive} is marked SET, and the test does not set it`)
    left.delete(directive)
    return value
  })
  if (left.size > 0) throw new Error(`deploy/nginx.conf: nothing is marked SET for ${[...left]}`)
  return set.join('\n')
}

/** A certificate for `localhost`, and its key. */
function certificateIn(dir: string): Record<string, string> {
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext`
  const files = ['subjectAltName=DNS:localhost', '-keyout', `${dir}/key.pem`, '-out', `${dir}/cert.pem`]
  execFileSync('openssl', [...words.split(' '), ...files], { stdio: 'ignore' })
  return {
    ssl_certificate: `ssl_certificate ${dir}/cert.pem;`,
    ssl_certificate_key: `ssl_certificate_key ${dir}/key.pem;`,
  }
}

const isUp = (origin: string) =>
  fetch(`${origin}/livez`).then(
    ({ ok }) => ok,
    () => false,
  )

const takesConnections = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

export interface Nginx {
  origin: string
  /** Of its certificate, with TLS. */
  ca?: Buffer
  accessLog(): string
  errorLog(): string
  stop(): Promise<void>
}

/** Starts nginx in front of `upstream`. */
export async function startNginx({
  upstream,
  recordingsDir,
  user = process.getuid?.() === 0 ? 'root' : undefined,
  tls = false,
}: {
  /** One server, or several in turn. */
  upstream: string | string[]
  recordingsDir: string
  /** Of nginx' workers; only root may choose. */
  user?: string
  /** As it is shipped, with TLS and HTTP/2, under a certificate made here. */
  tls?: boolean
}): Promise<Nginx> {
  const dir = mkdtempSync(path.join(tmpdir(), 'call-recordings-nginx-'))
  const port = await freePort()
  const accessLog = path.join(dir, 'access.log')
  writeFileSync(
    path.join(dir, 'site.conf'),
    configured({
      server: [upstream]
        .flat()
        .map((url) => `server ${new URL(url).host} max_fails=0;`)
        .join(' '),
      listen: `listen 127.0.0.1:${port}${tls ? ' ssl http2' : ''};`,
      server_name: 'server_name localhost;',
      ...(tls ? certificateIn(dir) : { ssl_certificate: '', ssl_certificate_key: '' }),
      access_log: `access_log ${accessLog} call_recordings;`,
      error_log: `error_log ${dir}/error.log crit;`,
      alias: `alias ${recordingsDir}/;`,
    }),
  )
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${dir}/${name};`,
  )
  writeFileSync(
    path.join(dir, 'nginx.conf'),
    `daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${dir}/error.log warn;
    ${user === undefined ? '' : `user ${user};`}
    events { worker_connections 512; }
    http { ${temporary.join(' ')} include ${dir}/site.conf; }`,
  )
  const nginx = spawn('nginx', ['-p', dir, '-e', `${dir}/error.log`, '-c', `${dir}/nginx.conf`], { stdio: 'ignore' })
  const exited = once(nginx, 'exit')
  const kill = () => nginx.kill('SIGTERM')
  process.once('exit', kill)
  const stop = async () => {
    process.off('exit', kill)
    kill()
    await exited
    rmSync(dir, { recursive: true, force: true })
  }

  const origin = tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`
  while (!(await (tls ? takesConnections(port) : isUp(origin)))) {
    if (nginx.exitCode !== null) throw new Error(`nginx did not start: ${readFileSync(`${dir}/error.log`, 'utf8')}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return {
    origin,
    ...(tls && { ca: readFileSync(`${dir}/cert.pem`) }),
    accessLog: () => readFileSync(accessLog, 'utf8'),
    errorLog: () => readFileSync(`${dir}/error.log`, 'utf8'),
    stop,
  }
}
