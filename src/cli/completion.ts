/*
 * Completion scripts from a list of commands. Pure. One table of words per place on the command line is written into the
 * script, so that pressing Tab never starts Node.
 */

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

export interface CompletableCommand {
  /** ["disk", "list"] */
  readonly words: readonly string[]
  readonly summary: string
  readonly flags: readonly { readonly name: string; readonly summary: string; readonly options: readonly string[] }[]
  /** Fixed words that an argument may be. */
  readonly args: readonly string[]
}

export function completionScript(shell: Shell, commands: readonly CompletableCommand[]): string {
  switch (shell) {
    case 'bash':
      return bash(commands)
    case 'zsh':
      return `#compdef holdfast\nautoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`
    case 'fish':
      return fish(commands)
  }
}

/** What may follow each beginning: '' → topics, 'disk' → its commands, 'disk list' → flags and fixed arguments. */
export function followers(commands: readonly CompletableCommand[]): Map<string, string[]> {
  const out = new Map<string, Set<string>>()
  const add = (at: string, word: string): void => {
    const set = out.get(at) ?? new Set()
    out.set(at, set.add(word))
  }
  for (const command of commands) {
    for (const [i, word] of command.words.entries()) add(command.words.slice(0, i).join(' '), word)
    const whole = command.words.join(' ')
    for (const word of command.args) add(whole, word)
    for (const flag of [...command.flags.map((f) => f.name), 'help']) add(whole, `--${flag}`)
  }
  return new Map([...out].map(([at, words]) => [at, [...words].sort()]))
}

function bash(commands: readonly CompletableCommand[]): string {
  const cases = [...followers(commands)].map(([at, words]) => `    '${at}') words='${words.join(' ')}' ;;`)
  return `# bash completion of holdfast
_holdfast() {
  local current="\${COMP_WORDS[COMP_CWORD]}" at='' words='' i word
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    [[ "$word" == -* ]] && continue
    case " ${[...new Set(commands.map((c) => c.words.join(' ')))].map((c) => `|${c}|`).join(' ')} " in
      *"|\${at:+$at }$word|"* | *"|\${at:+$at }$word "*) at="\${at:+$at }$word" ;;
    esac
  done
  case "$at" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ \${#COMPREPLY[@]} -eq 0 && "$current" != -* ]] && COMPREPLY=($(compgen -f -- "$current"))
}
complete -o filenames -F _holdfast holdfast
`
}

function fish(commands: readonly CompletableCommand[]): string {
  const quote = (text: string): string => `'${text.replaceAll(/[\\']/g, '\\$&')}'`
  const lines = ['# fish completion of holdfast']
  const topics = new Set(commands.filter((c) => c.words.length > 1).map((c) => c.words[0]!))
  for (const topic of topics) lines.push(`complete -c holdfast -n __fish_use_subcommand -f -a ${topic}`)
  for (const { words, summary, flags, args } of commands) {
    const [first, second] = words as [string, string | undefined]
    const d = `-d ${quote(summary)}`
    if (second === undefined) lines.push(`complete -c holdfast -n __fish_use_subcommand -f -a ${first} ${d}`)
    else lines.push(`complete -c holdfast -n '__fish_seen_subcommand_from ${first}' -f -a ${second} ${d}`)
    const seen = second === undefined ? first : `${first}; and __fish_seen_subcommand_from ${second}`
    const when = `-n '__fish_seen_subcommand_from ${seen}'`
    for (const flag of flags) {
      const options = flag.options.length > 0 ? ` -x -a ${quote(flag.options.join(' '))}` : ''
      lines.push(`complete -c holdfast ${when} -l ${flag.name} -d ${quote(flag.summary)}${options}`)
    }
    if (args.length > 0) lines.push(`complete -c holdfast ${when} -f -a ${quote(args.join(' '))}`)
  }
  return `${lines.join('\n')}\n`
}
