/*
 * Mounting as an ordinary user. fusermount3 (set-uid) makes the mount and passes the descriptor over a socket, which Node
 * cannot receive. So a few lines of Perl (perl-base is essential on Debian) do it and then become the program: the mount
 * exists before Node starts, and Node finds the descriptor's number in its environment.
 */

import { FsError } from '../base/fault.ts'

/** The environment variable in which the program finds the number of its /dev/fuse descriptor. */
export const FUSERMOUNT_FD_VARIABLE = 'HOLDFAST_FUSE_FD'

/** recvmsg(2) by processor; Perl has no other way to call it. */
const RECVMSG_NUMBER: Readonly<Record<string, number>> = { x64: 47, arm64: 212 }

/*
 * Arguments: recvmsg number, mount options, mount point, program and its arguments. struct msghdr and cmsghdr are laid
 * out by hand for 64-bit Linux: name 0, iov 1, control 24 bytes (16 of header, 4 of descriptor, padding).
 */
const PERL = `
use strict; use Socket; use Fcntl;
my ($nr, $options, $dir, @program) = @ARGV;
socketpair(my $mine, my $theirs, AF_UNIX, SOCK_STREAM, 0) or die "socketpair: $!\\n";
my $pid = fork; defined $pid or die "fork: $!\\n";
if ($pid == 0) {
  close $mine;
  fcntl($theirs, F_SETFD, 0);
  $ENV{_FUSE_COMMFD} = fileno $theirs;
  exec 'fusermount3', '-o', $options, '--', $dir or do {
    print STDERR "fusermount3 is missing: install the package fuse3\\n"; exit 127;
  };
}
close $theirs;
my $byte = "\\0" x 8; my $control = "\\0" x 24;
my $iov = pack('J J', unpack('J', pack('p', $byte)), 1);
my $message = pack('J L x4 J J J J l x4',
  0, 0, unpack('J', pack('p', $iov)), 1, unpack('J', pack('p', $control)), 24, 0);
my $got = syscall($nr + 0, fileno($mine), $message, 0);
waitpid $pid, 0;
my $status = $? >> 8;
if ($got < 1 || $status != 0) { exit($status || 1) }
my ($length, $level, $type, $fd) = unpack('J l l l', $control);
die "fusermount3 passed no descriptor\\n" unless $length >= 20 && $type == 1;
open(my $device, '+<&=', $fd) or die "descriptor: $!\\n";
fcntl($device, F_SETFD, 0);
$ENV{${FUSERMOUNT_FD_VARIABLE}} = $fd;
exec { $program[0] } @program or die "exec $program[0]: $!\\n";
`

export interface FusermountRequest {
  readonly mountpoint: string
  readonly source: string
  readonly readOnly?: boolean
  /** Needs `user_allow_other` in /etc/fuse.conf. */
  readonly allowOther?: boolean
  /** The program that serves the mount: file and arguments. It starts only when the mount was made. */
  readonly program: readonly string[]
}

/**
 * The command that mounts and then becomes `program`, in the same process (so that signals and the exit code are its
 * own). It exits with fusermount3's code, which has said why, when the mount cannot be made.
 */
export function fusermountCommand(request: FusermountRequest): { file: string; args: string[] } {
  const number = RECVMSG_NUMBER[process.arch]
  if (number === undefined) {
    throw new FsError('EOPNOTSUPP', `mounting without root is not supported on ${process.arch}; mount as root`)
  }
  // fusermount3 separates options by commas and unescapes a backslash before one.
  const source = request.source.replace(/[\\,]/g, (c) => `\\${c}`)
  const options = [`fsname=${source}`, 'subtype=holdfast', 'default_permissions', request.readOnly ? 'ro' : 'rw']
  if (request.allowOther) options.push('allow_other')
  return {
    file: 'perl',
    args: ['-e', PERL, '--', String(number), options.join(','), request.mountpoint, ...request.program],
  }
}
