/** The route of an address, with its ids left out: few names, however many addresses. */

const ID_OF: Readonly<Record<string, string>> = {
  leads: '{lead_id}',
  uploads: '{upload_id}',
  recordings: '{recording_id}',
  'call-logs': '{call_log_id}',
  notes: '{note_id}',
}
/** What else routes are made of. */
const WORDS = new Set(['api', ...Object.keys(ID_OF), 'details', 'playback-links', 'peaks', 'me', 'metrics', 'docs'])
const ALONE = new Set(['/', '/openapi.json', '/livez', '/readyz'])

/** @returns such as `/api/leads/{lead_id}/recordings`; `unknown` for what is no address of ours */
export function routeName(url: string): string {
  const [path = ''] = url.split('?', 1)
  if (ALONE.has(path)) return path
  const parts = path.split('/').slice(1)
  if (parts.length === 0) return 'unknown'
  let name = ''
  let id: string | undefined
  for (const part of parts) {
    if (id !== undefined && part !== '') {
      name += `/${id}`
      id = undefined
      continue
    }
    if (!WORDS.has(part)) return 'unknown'
    name += `/${part}`
    id = ID_OF[part]
  }
  return name
}
