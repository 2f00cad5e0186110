import { describe, expect, it } from 'vitest'
import { FsError } from '../../src/base/fault.ts'
import { classesIn } from '../../src/cli/commands/class.ts'
import { printClass } from '../../src/topology/storage-class.ts'

const refused = (text: string): string => {
  try {
    classesIn(text)
  } catch (error) {
    if (error instanceof FsError) return error.message
    throw error
  }
  return 'accepted'
}

describe('a file of classes', () => {
  it('has lines of flags and names, with or without the command in front', () => {
    const text = "\n# mine\nmfsscadmin create -K 2 a b\n  holdfast class create -K 3H -c 'two words' c  \r\n-K @4+1 d\n"
    expect(classesIn(text).map(printClass)).toEqual(['-K 2* a', '-K 2* b', "-K 3H -c 'two words' c", '-K @4+1,* d'])
  })
  it('is refused with the line that is wrong', () => {
    expect(refused('-K 2 a\n-K A!B b')).toContain("line 2: invalid argument: -K 'A!B': column 2")
    expect(refused('-K 2')).toContain('line 1: invalid argument: it names no class')
    expect(refused('-K 2 a\n-K 3 a')).toContain('"a" is named twice')
    expect(refused('mfsscadmin delete a')).toContain('line 1')
  })
})
