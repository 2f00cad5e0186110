import { describe, expect, it } from 'vitest'
import { bitsOf, roles, rolesOf, wireRolesOf } from '../../src/base/mesh-roles.ts'
import { ROLES } from '../../src/wire/call-row.ts'

describe('roles of nodes', () => {
  it('are bits that never change, and unknown bits are nothing', () => {
    expect(roles.map((role) => [role, bitsOf([role])])).toEqual([
      ['master', 1],
      ['chunkserver', 2],
      ['client', 4],
      ['gateway', 8],
    ])
    expect(rolesOf(10)).toEqual(['chunkserver', 'gateway'])
    expect([rolesOf(0), rolesOf(16)]).toEqual([[], undefined])
  })

  it('let processes be what the call table knows: a master everything, others what they are for', () => {
    expect([...wireRolesOf(['master'])].sort()).toEqual([...ROLES].sort())
    expect(wireRolesOf(['gateway', 'client'])).toEqual(['mount', 'mesh'])
    expect(wireRolesOf(['client', 'chunkserver'])).toEqual(['chunkserver', 'mesh', 'mount'])
    expect(wireRolesOf([])).toEqual([])
  })
})
