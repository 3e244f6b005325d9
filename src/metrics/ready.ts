/** Whether the service can do its work, as `/readyz` says; asked when somebody asks. */
import { Gauge, type Registry } from 'prom-client'
import { REASONS, type Readiness } from '../http/readiness.ts'

export function exposeReadiness(registers: Registry[], readiness: () => Promise<Readiness>): void {
  new Gauge({
    name: 'call_recordings_not_ready',
    help: 'Whether this keeps the service from its work (1), by the reason that /readyz tells.',
    labelNames: ['reason'] as const,
    registers,
    async collect() {
      const { reasons } = await readiness()
      for (const reason of REASONS) this.set({ reason }, reasons.includes(reason) ? 1 : 0)
    },
  })
}
