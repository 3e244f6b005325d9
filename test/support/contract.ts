/** The contract that a service publishes, and answers held against it. */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'

interface Header {
  required: boolean
  schema: object
}

interface Answer {
  headers?: Record<string, Header>
  content?: Record<string, { schema: object }>
}

interface Operation {
  operationId: string
  responses: Record<string, Answer>
}

export interface Document {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object> }
}

const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options']

/** All operations, each with its address. */
export const operationsOf = ({ paths }: Document) =>
  Object.entries(paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => (item[method] ? [{ path, method, ...item[method] }] : [])),
  )

/** Answers may gain members; what they have today, the document has too. */
function strict(part: unknown): unknown {
  if (typeof part !== 'object' || part === null) return part
  if (Array.isArray(part)) return part.map(strict)
  const copy = Object.fromEntries(Object.entries(part).map(([name, value]) => [name, strict(value)]))
  const isObject = copy.type === 'object' && copy.properties !== undefined
  return isObject ? { additionalProperties: false, ...copy } : copy
}

/** As a part of a JSON pointer in an address. */
const escaped = (part: string) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))

export function contractChecker(document: Document) {
  const ajv = new Ajv2020({ strict: false, allErrors: true, coerceTypes: true })
  formats.default(ajv)
  ajv.addSchema(strict(document) as object, 'contract')
  const operations = new Map(operationsOf(document).map((each) => [each.operationId, each]))
  const seen = new Set<string>()

  function schemaAt(...at: string[]): ValidateFunction {
    const found = ajv.getSchema(`contract#/${at.map(escaped).join('/')}`)
    if (!found) throw new Error(`the document has nothing at ${at.join(' ')}`)
    return found
  }

  return {
    /** Each operation and status that an answer was held against. */
    seen: seen as ReadonlySet<string>,
    /** What is wrong with an answer: nothing, where the document describes it. */
    async faultsOf(operationId: string, res: Response): Promise<string[]> {
      const operation = operations.get(operationId)
      const status = String(res.status)
      const described = operation?.responses[status]
      const text = await res.text()
      if (!operation || !described) return [`${operationId} answers ${status}, which is not described: ${text}`]
      seen.add(`${operationId} ${status}`)
      const faults: string[] = []
      for (const [name, { required, schema }] of Object.entries(described.headers ?? {})) {
        const value = res.headers.get(name)
        if (value === null && required) faults.push(`there is no ${name}`)
        if (value !== null && !ajv.validate(schema, value)) faults.push(`${name} is ${value}`)
      }
      const contents = described.content
      if (!contents) return text === '' ? faults : [...faults, `there is a body: ${text}`]
      const type = res.headers.get('content-type')?.split(';')[0] ?? ''
      const named = [type, '*/*'].find((each) => contents[each])
      if (named === undefined) return [...faults, `the body is ${type}`]
      const check = schemaAt('paths', operation.path, operation.method, 'responses', status, 'content', named, 'schema')
      const body = /json$/.test(type) ? JSON.parse(text) : text
      // Coerced, null would be a text.
      const before = JSON.stringify(body)
      if (!check(body)) faults.push(ajv.errorsText(check.errors))
      if (JSON.stringify(body) !== before) faults.push('a member is of another type')
      return faults
    },
  }
}

export const contractOf = async (url: string): Promise<Document> =>
  (await (await fetch(`${url}/openapi.json`)).json()) as Document
