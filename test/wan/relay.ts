/*
 * The wide network of a bed, seen from the test: starts the relay in its namespace, tells it how links are, asks what they
 * have carried. Requests are answered in order, so a link is as wanted once `shape` has returned.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { NETNS_DIR } from './leftovers.ts'
import type { LinkCount, LinkShape } from './link-model.ts'
import type { RelayAnswer, RelayRequest } from './relay-process.ts'

const PROGRAM = fileURLToPath(new URL('./relay-process.ts', import.meta.url))
/** Node cannot open a TUN device: that takes an ioctl. Perl opens it and becomes the relay, with the descriptor. */
const OPEN_TUN = [
  '$^F = 255;',
  'open(my $tun, "+<", "/dev/net/tun") or die "/dev/net/tun: $!\\n";',
  // TUNSETIFF with IFF_TUN | IFF_NO_PI.
  'ioctl($tun, 0x400454ca, pack("a16 s x22", shift @ARGV, 0x1001)) or die "TUNSETIFF: $!\\n";',
  'my ($node, $program, @rest) = @ARGV;',
  'exec($node, "--import", "tsx", $program, fileno($tun), @rest) or die "$node: $!\\n";',
].join(' ')

export class Relay {
  readonly #child: ChildProcess
  readonly #waiting: ((answer: RelayAnswer | Error) => void)[] = []
  /** Why it is no more. */
  #gone: Error | undefined

  private constructor(child: ChildProcess) {
    this.#child = child
    let words = ''
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (words = (words + text).slice(-4000)))
    createInterface({ input: child.stdout! }).on('line', (line) =>
      this.#waiting.shift()?.(JSON.parse(line) as RelayAnswer),
    )
    const end = (why: string): void => {
      this.#gone ??= new Error(`${why}\n${words}`)
      for (const done of this.#waiting.splice(0)) done(this.#gone)
    }
    child.once('error', (error) => end(`the relay cannot be run: ${error.message}`))
    child.once('close', (code, signal) => end(`the relay has ended (${code ?? signal})`))
    // Requests to a relay that has ended are refused above.
    child.stdin!.on('error', () => {})
  }

  /** The device is made by opening it; what comes out of it and goes in is up to the routes of the namespace. */
  static async start(namespace: string, device: string, prefix: string, seed: string): Promise<Relay> {
    const words = ['-e', OPEN_TUN, device, process.execPath, PROGRAM, prefix, seed]
    const child = spawn('nsenter', [`--net=${NETNS_DIR}/${namespace}`, '--', 'perl', ...words])
    const relay = new Relay(child)
    await relay.#next()
    return relay
  }

  async shape(from: number, to: number, shape: LinkShape): Promise<void> {
    await this.#ask({ do: 'shape', from, to, shape })
  }

  async count(from: number, to: number): Promise<LinkCount> {
    const answer = await this.#ask({ do: 'count', from, to })
    if (!('count' in answer)) throw new Error('the relay gave another answer')
    return answer.count
  }

  /** At once; to be called before what it would otherwise clean up is removed. */
  kill(): void {
    this.#child.kill('SIGKILL')
  }

  async ended(): Promise<void> {
    if (this.#gone === undefined) await once(this.#child, 'close')
  }

  #ask(request: RelayRequest): Promise<RelayAnswer> {
    const answer = this.#next()
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`)
    return answer
  }

  #next(): Promise<RelayAnswer> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone)
    return new Promise((resolve, reject) =>
      this.#waiting.push((answer) => (answer instanceof Error ? reject(answer) : resolve(answer))),
    )
  }
}
