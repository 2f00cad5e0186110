import { Errors } from '@oclif/core'
import { describe, expect, it } from 'vitest'
import { errno } from '../../src/base/errno.ts'
import { FsError } from '../../src/base/fault.ts'
import { COMMANDS } from '../../src/cli/commands.ts'
import { completionScript, followers, SHELLS } from '../../src/cli/completion.ts'
import { failureOf } from '../../src/cli/failure.ts'
import { meant } from '../../src/cli/meant.ts'
import { closest, editDistance } from '../../src/cli/suggest.ts'

describe('the table of commands', () => {
  it('gives every command a sentence, examples and --json', () => {
    for (const [id, command] of Object.entries(COMMANDS)) {
      expect(command.summary, id).toMatch(/^[A-Z].*[.?]$/)
      expect(command.examples?.length, id).toBeGreaterThan(0)
      expect(command.enableJsonFlag, id).toBe(true)
    }
  })
  it('explains every flag and argument', () => {
    for (const [id, command] of Object.entries(COMMANDS)) {
      for (const [name, flag] of Object.entries({ ...command.baseFlags, ...command.flags }))
        expect(flag.summary, `${id} --${name}`).toMatch(/\.$/)
      for (const [name, arg] of Object.entries(command.args)) expect(arg.description, `${id} ${name}`).toMatch(/\.$/)
    }
  })
})

describe('a word that is in no list', () => {
  it('is answered with the nearest that is, when one is near', () => {
    expect(editDistance('staust', 'status')).toBe(2)
    expect(editDistance('statsu', 'status')).toBe(1)
    expect(editDistance('', 'abc')).toBe(3)
    expect(closest('statsu', ['start', 'status', 'stop'])).toBe('status')
    expect(closest('frobnicate', ['start', 'status', 'stop'])).toBe(undefined)
    const { message } = meant(new Errors.CLIError('command disk:lst not found')) as Error
    expect(message).toBe('there is no command disk lst; did you mean disk list?')
    const said = (id: string): string => (meant(new Errors.CLIError(`command ${id} not found`)) as Error).message
    expect(said('node:lable:chunkserver-1:H')).toBe('there is no command node lable; did you mean node label?')
    expect(said('clas:set:hdd:mnt')).toBe('there is no command clas set; did you mean class set?')
    const other = new Errors.CLIError('command frobnicate not found')
    expect(meant(other)).toBe(other)
    const unknown = Object.assign(new Errors.CLIError('Nonexistent flag: --chunkserver\nSee more help with --help'), {
      flags: ['--chunkserver'],
      parse: { input: { flags: { chunkservers: {}, json: {} } } },
    })
    expect(failureOf(unknown).message).toMatch(/^Nonexistent flag: --chunkserver .*\(did you mean --chunkservers\?\)$/)
  })
})

describe('a failure', () => {
  it('of the errno table has its exit code', () => {
    expect(failureOf(new FsError('ENOSPC', 'disk 3'))).toEqual({
      code: 'ENOSPC',
      message: 'no space left: disk 3',
      exit: errno.ENOSPC.exit,
    })
  })
  it('of a system call names the path in a sentence', () => {
    const error = Object.assign(new Error("EACCES: permission denied, open '/x'"), {
      code: 'EACCES',
      syscall: 'open',
      path: '/x',
    })
    expect(failureOf(error)).toMatchObject({ message: 'permission denied: /x (open)', exit: 77 })
  })
  it('of usage exits as EINVAL, in one line', () => {
    expect(failureOf(new Errors.CLIError('Nonexistent flag: --x\nSee more help'))).toEqual({
      code: 'EINVAL',
      message: 'Nonexistent flag: --x See more help',
      exit: errno.EINVAL.exit,
    })
  })
  it('that nobody foresaw is a bug with its stack and exit code 70', () => {
    const failure = failureOf(new TypeError('x is not a function'))
    expect(failure).toMatchObject({ code: 'BUG', exit: 70 })
    expect(failure.message).toContain('at ')
  })
})

describe('completions', () => {
  const commands = [
    { words: ['disk', 'drain'], summary: "Don't", flags: [{ name: 'force', summary: 'f', options: [] }], args: [] },
    { words: ['run'], summary: 'Run.', flags: [], args: ['master', 'mount'] },
  ]
  it('know what follows what', () => {
    const map = followers(commands)
    expect(map.get('')).toEqual(['disk', 'run'])
    expect(map.get('disk')).toEqual(['drain'])
    expect(map.get('disk drain')).toEqual(['--force', '--help'])
    expect(map.get('run')).toEqual(['--help', 'master', 'mount'])
  })
  it('exist for every shell and quote what a summary says', () => {
    for (const shell of SHELLS) expect(completionScript(shell, commands)).toContain('drain')
    expect(completionScript('fish', commands)).toContain("-d 'Don\\'t'")
  })
})
