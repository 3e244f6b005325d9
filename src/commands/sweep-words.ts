/** What `sweep` tells of a step: a sentence for people, an object for programs. */
import type { Stranger } from '../uploads/strangers.ts'
import type { Step } from '../uploads/sweep-steps.ts'
import type { Item, Output } from './output.ts'
import { inUnits } from './progress.ts'

/** What is told of one step. */
export type Told = Exclude<Step | Stranger, { what: 'young' }>

function sentenceOf(step: Told): string {
  switch (step.act) {
    case 'finish':
      return `finish   upload ${step.uploadId}: it is whole`
    case 'expire':
      return `expire   upload ${step.uploadId}: silent for too long, with ${inUnits(step.offset)}`
    case 'drop':
      return `drop     the rows of the bytes of upload ${step.uploadId}: it is over`
    case 'forget':
      return `forget   upload ${step.uploadId}: it ended long ago`
    case 'remove':
      return `remove   ${step.from}/${step.file} (${inUnits(step.bytes)}): ${step.why}`
    case 'report':
      switch (step.what) {
        case 'upload':
          return `MISSING  the ${inUnits(step.offset)} of upload ${step.uploadId}`
        case 'recording':
          return `MISSING  the file of recording ${step.recordingId}: recordings/${step.path}`
        case 'damaged':
          return `DAMAGED  the file of recording ${step.recordingId}: recordings/${step.path} is not as long as it was stored`
        case 'unknown':
          return `unknown  recordings/${step.file} (${inUnits(step.bytes)}): no row has ever heard of it`
        case 'stray':
          return `stray    recordings/${step.file}: it is none of the service's, and left alone`
      }
  }
}

/** The same for programs. */
export function itemOf(step: Told): Item {
  switch (step.act) {
    case 'finish':
    case 'drop':
    case 'forget':
      return { type: step.act, upload_id: step.uploadId }
    case 'expire':
      return { type: 'expire', upload_id: step.uploadId, bytes: step.offset }
    case 'remove':
      return { type: 'remove', file: `${step.from}/${step.file}`, bytes: step.bytes, why: step.why }
    case 'report':
      switch (step.what) {
        case 'upload':
          return { type: 'missing', upload_id: step.uploadId, lead_id: step.leadId, bytes: step.offset }
        case 'recording':
        case 'damaged': {
          const type = step.what === 'damaged' ? 'damaged' : 'missing'
          return { type, recording_id: step.recordingId, lead_id: step.leadId, path: step.path }
        }
        case 'unknown':
          return { type: 'unknown', file: `recordings/${step.file}`, bytes: step.bytes }
        case 'stray':
          return { type: 'stray', file: `recordings/${step.file}` }
      }
  }
}

export const tellStep = (output: Output, step: Told): void => output.tell(itemOf(step), sentenceOf(step))
