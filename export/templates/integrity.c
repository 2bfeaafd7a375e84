/* The CRC-32 of zlib, continued over a number of so many bits, the lowest first. */
static uint32_t @name@_crc(uint32_t crc, uint64_t number, int32_t bits)
{
    for (int32_t i = 0; i < bits; i++) {
        crc = (crc >> 1) ^ (((crc ^ (uint32_t)(number >> i)) & 1u) * 0xedb88320u);
    }
    return crc;
}

/* 0 if the constants are those that were exported, else 1. */
int32_t @name@_integrity(void)
{
    uint32_t crc = 0xffffffffu;
@loops@
    return ~crc != @crc@;
}
