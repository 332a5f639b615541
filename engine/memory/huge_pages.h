// Huge pages of a pool (hugetlbfs): mappings with MAP_HUGETLB, memfds, System V segments.
// Transparent huge pages are no matter of these. Source: mmap(2), memfd_create(2), shmget(2).
#pragma once

#include <cstdint>

#include "engine/base/sys.h"
#include "engine/image/image_reader.h"

namespace ncr {

// Of the file's pages, as a power of two; 0: ordinary ones.
Result<uint32_t> huge_page_shift_of(const Fd& file);

constexpr uint32_t kMostHugePageShift = 40;

// `size` as it is in whole pages; shift 0 stands for ordinary ones. Pure.
uint64_t in_whole_pages(uint64_t size, uint32_t shift);

// MAP_HUGETLB, MFD_HUGETLB or SHM_HUGETLB together with the size; 0 for ordinary pages.
int huge_page_flags(int hugetlb, uint32_t shift);

// Whether this kernel can restore the mappings of huge pages in the image, which have to be moved
// (mremap(2) does that since Linux 5.16). kUnsupported.
Result<> check_huge_pages(const Image& image);

}  // namespace ncr
