/** A Dockerfile's instructions, and what the image of its last stage is like. */

export interface Instruction {
  name: string
  words: string
}

export interface Stage {
  from: string
  name: string | undefined
  instructions: Instruction[]
}

export function imageOf(dockerfile: string) {
  const lines = dockerfile
    .split('\n')
    .filter((line) => !/^\s*(#|$)/.test(line))
    .join('\n')
    .replaceAll('\\\n', ' ')
    .split('\n')
  const stages: Stage[] = []
  for (const line of lines) {
    const [, name = '', words = ''] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? []
    if (name === 'FROM') {
      const [, from = '', as] = /^(\S+)(?: AS (\S+))?$/.exec(words) ?? []
      stages.push({ from, name: as, instructions: [] })
    } else {
      stages.at(-1)?.instructions.push({ name, words: words.replace(/\s+/g, ' ') })
    }
  }
  const last = stages.at(-1)?.instructions ?? []
  const all = (name: string) => last.filter((each) => each.name === name)
  const wordsOf = (name: string) => all(name).at(-1)?.words ?? ''
  const [, options = '', health = '[]'] = /^(.*?) CMD (.*)$/.exec(wordsOf('HEALTHCHECK')) ?? []
  return {
    stages,
    user: wordsOf('USER'),
    workdir: wordsOf('WORKDIR'),
    volumes: all('VOLUME').map(({ words }) => words),
    exposed: wordsOf('EXPOSE'),
    copies: all('COPY'),
    env: Object.fromEntries(
      all('ENV').flatMap(({ words }) => words.split(' ').map((pair) => pair.split('=', 2) as [string, string])),
    ),
    healthcheck: { options, command: JSON.parse(health) as string[] },
    command: JSON.parse(wordsOf('CMD') || '[]') as string[],
  }
}
