/** HTTP as it is on the wire: every header, no redirects, no decoding, connections kept. */
import http from 'node:http'

export interface Answer {
  status: number
  headers: http.IncomingHttpHeaders
  body: Buffer
  text: string
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 8 })

export const ask = (url: string, method: string = 'GET', headers: http.OutgoingHttpHeaders = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const request = http.request(url, { method, headers, agent }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk) => chunks.push(chunk))
      res.on('error', reject)
      res.on('end', () => {
        const body = Buffer.concat(chunks)
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body, text: body.toString('latin1') })
      })
    })
    request.on('error', reject)
    request.end()
  })
