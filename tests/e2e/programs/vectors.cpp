// Threads that keep sums in vector registers (AVX-512, AVX2 or SSE2, the widest this CPU has) and
// check them against integers kept in memory.
#include <immintrin.h>

#include <unistd.h>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

namespace {

std::atomic<uint64_t> rounds[4];
std::atomic<bool> broken{false};

// A long stretch with live values in eight vector registers; a lost or mixed-up register changes
// the total.
#define STRETCH(name, isa, vector, lanes, set1, add, store)                    \
  __attribute__((target(isa))) bool name(uint64_t seed) {                      \
    vector sums[8];                                                            \
    for (int i = 0; i < 8; i++)                                                \
      sums[i] = set1(static_cast<long long>(seed + static_cast<uint64_t>(i))); \
    const vector one = set1(1);                                                \
    const int kSteps = 200000;                                                 \
    for (int step = 0; step < kSteps; step++) {                                \
      for (auto& sum : sums) sum = add(sum, one);                              \
      asm volatile("" ::: "memory");                                           \
    }                                                                          \
    alignas(64) uint64_t out[lanes];                                           \
    for (int i = 0; i < 8; i++) {                                              \
      store(reinterpret_cast<vector*>(out), sums[i]);                          \
      for (uint64_t lane : out)                                                \
        if (lane != seed + static_cast<uint64_t>(i) + kSteps) return false;    \
    }                                                                          \
    return true;                                                               \
  }
STRETCH(stretch_512, "avx512f", __m512i, 8, _mm512_set1_epi64, _mm512_add_epi64, _mm512_store_si512)
STRETCH(stretch_256, "avx2", __m256i, 4, _mm256_set1_epi64x, _mm256_add_epi64, _mm256_store_si256)
STRETCH(stretch_128, "sse2", __m128i, 2, _mm_set1_epi64x, _mm_add_epi64, _mm_store_si128)

using Stretch = bool (*)(uint64_t);
Stretch widest() {
  if (__builtin_cpu_supports("avx512f")) return stretch_512;
  if (__builtin_cpu_supports("avx2")) return stretch_256;
  return stretch_128;
}

}  // namespace

int main() {
  Stretch stretch = widest();
  std::vector<std::thread> threads;
  for (uint64_t index = 0; index < 4; index++)
    threads.emplace_back([=] {
      for (uint64_t seed = index;; seed += 13) {
        if (!stretch(seed)) broken = true;
        rounds[index]++;
      }
    });
  for (;;) {
    std::FILE* file = std::fopen("status.new", "w");
    std::fprintf(file, "{\"threads\": [%lu, %lu, %lu, %lu], \"broken\": %s}\n", rounds[0].load(),
                 rounds[1].load(), rounds[2].load(), rounds[3].load(), broken ? "true" : "false");
    std::fclose(file);
    std::rename("status.new", "status");
    usleep(5000);
  }
}
