/** A few connections, for what is no server; also in a process that runs no tests. */
export const connectionsTo = (url: string) => ({
  url: { text: url },
  connections: 2,
  readConnections: 1,
  statementTimeoutMs: 4_000,
})
