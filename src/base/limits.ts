/*
 * Limits that more than one room must agree on, each with its reason. Limits of one room live in that room.
 */

const KiB = 1024
const MiB = 1024 * KiB
const TiB = 1024 * 1024 * MiB

/** Bytes of one name, as in every Linux filesystem (NAME_MAX). */
export const NAME_BYTES_MAX = 255
/** Bytes of a path or a symlink's target, terminator excluded (PATH_MAX − 1). */
export const PATH_BYTES_MAX = 4095
/** A chunk's bytes: large enough that metadata per byte is nothing, small enough to copy in seconds over a WAN. */
export const CHUNK_BYTES_MAX = 64 * MiB
/** The unit of CRC on disk, of repair and of the client's block cache. */
export const BLOCK_BYTES = 64 * KiB
/** What is read at once of a chunk that is moved: long enough to be sequential for a disk, short enough to lose little when a link breaks. */
export const MOVE_BYTES: number = 1 * MiB
/** Parts of an erasure-coded chunk. Four losses at once outlive any repair; beyond sixteen data parts a read asks too many disks. */
export const EC_DATA_MIN = 2
export const EC_DATA_MAX = 16
export const EC_PARITY_MIN = 1
export const EC_PARITY_MAX = 4
export const EC_PARTS_MAX: number = EC_DATA_MAX + EC_PARITY_MAX
/** The largest file: 16 TiB, as ext4 with 4 KiB blocks. */
export const FILE_BYTES_MAX = 16 * TiB
/** One bulk body (append, read, copy). A larger request is several frames; bounds what one frame can make us allocate. */
export const BULK_BYTES_MAX = 4 * MiB
/** One msgpack body. The largest is a page of a directory (1 024 entries of 255 bytes plus attributes) or a commit. */
export const BODY_BYTES_MAX = 4 * MiB
/** An extended attribute's value (Linux XATTR_SIZE_MAX) and the list of all names (XATTR_LIST_MAX). */
export const XATTR_VALUE_BYTES_MAX = 64 * KiB
export const XATTR_LIST_BYTES_MAX = 64 * KiB
/** Hard links of one file; ext4 has 65 000, more breaks no tool but helps none. */
export const LINK_MAX = 65_000
/** Text of one placing of a storage class: far beyond what people write, and bounds everything that walks the expression. */
export const PLACING_CHARS_MAX = 1000
/** Network cards by which a machine is known again: more than one has. */
export const MACHINE_CARDS_MAX = 32
