/**
 * One request at a time on a connection.
 *
 * Node parses what a client sends ahead as it comes, and hands all of it out at once: a hundred answers of one
 * connection would have their files and buffers while the first is still on its way. Here the others wait, untouched,
 * until the answer before theirs has gone; meanwhile nothing more is read.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** What Node parses of one read, 64 KiB, is fewer unless it is meant to hurt: such a connection is broken off. */
const MAX_WAITING = 1_000
/** On all connections together; one that would add to it is broken off. */
const MAX_WAITING_IN_ALL = 20_000

export interface Exchange {
  req: IncomingMessage
  res: ServerResponse
}

/** Whose turn it is on a connection, and who waits. */
interface Turn {
  current: Exchange | undefined
  waiting: Exchange[]
}

const TURN = Symbol('whose turn it is on this connection')
type Known = Socket & { [TURN]?: Turn }

/** The exchange that the connection is at; undefined between two, and before the first. */
export const exchangeOf = (socket: Socket): Exchange | undefined => (socket as Known)[TURN]?.current

/** A handler of Node's requests that hands them on in turn. */
export function inTurn(handle: (exchange: Exchange) => void): (req: IncomingMessage, res: ServerResponse) => void {
  let waitingInAll = 0

  function turnOf(socket: Known): Turn {
    const known = socket[TURN]
    if (known) return known
    const turn: Turn = { current: undefined, waiting: [] }
    socket[TURN] = turn
    // Node goes on reading after each message, and when an answer has drained.
    socket.on('resume', () => {
      if (turn.waiting.length > 0) socket.pause()
    })
    return turn
  }

  function begin(turn: Turn, exchange: Exchange): void {
    turn.current = exchange
    exchange.res.once('close', () => next(turn, exchange.req.socket))
    handle(exchange)
  }

  function next(turn: Turn, socket: Socket): void {
    turn.current = undefined
    if (!socket.writable) {
      waitingInAll -= turn.waiting.length
      turn.waiting = []
      return
    }
    const first = turn.waiting.shift()
    if (!first) return
    waitingInAll -= 1
    if (turn.waiting.length === 0) socket.resume()
    // Nobody else begins on this connection meanwhile; on the others they do, or nine hundred short requests would be one.
    turn.current = first
    setImmediate(() => (socket.writable ? begin(turn, first) : next(turn, socket)))
  }

  return (req, res) => {
    const turn = turnOf(req.socket)
    if (!turn.current) return begin(turn, { req, res })
    if (turn.waiting.length >= MAX_WAITING || waitingInAll >= MAX_WAITING_IN_ALL) return void req.socket.destroy()
    turn.waiting.push({ req, res })
    waitingInAll += 1
    req.socket.pause()
  }
}
