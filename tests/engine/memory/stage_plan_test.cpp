#include "engine/memory/stage_plan.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "engine/base/ids.h"

namespace ncr {
namespace {

constexpr uint64_t kPage = kPageSize;

// An address space in units of pages.
class Space {
 public:
  schema::Vma& vma(uint64_t first, uint64_t end, schema::VmaKind kind = schema::VMA_ANONYMOUS) {
    schema::Vma* vma = memory_.add_vmas();
    vma->set_start(first * kPage);
    vma->set_end(end * kPage);
    vma->set_prot(PROT_READ | PROT_WRITE);
    vma->set_kind(kind);
    return *vma;
  }
  void stored(uint64_t first, uint64_t pages, uint64_t place) {
    schema::PageRun* run = run_of(first, pages);
    run->set_stored(place * kPage);
  }
  void zero(uint64_t first, uint64_t pages) { run_of(first, pages)->set_zero(true); }
  StoredMemory get() const { return {&memory_, &pages_}; }

 private:
  schema::PageRun* run_of(uint64_t first, uint64_t pages) {
    schema::PageRun* run = pages_.add_runs();
    run->set_start(first * kPage);
    run->set_pages(pages);
    return run;
  }
  schema::Memory memory_;
  schema::PageMap pages_;
};

std::string show(const std::vector<AddressRange>& ranges) {
  std::string text;
  for (const AddressRange& range : ranges)
    text += strf("%lu-%lu ", static_cast<unsigned long>(range.start / kPage),
                 static_cast<unsigned long>(range.end / kPage));
  return text;
}

std::string show(const std::vector<PageRead>& reads) {
  std::string text;
  for (const PageRead& read : reads)
    text += strf("%lu+%lu@%lu ", static_cast<unsigned long>(read.address / kPage),
                 static_cast<unsigned long>(read.size / kPage),
                 static_cast<unsigned long>(read.stored / kPage));
  return text;
}

std::string show_maps(const StagePlan& plan) {
  std::string text;
  for (const VmaStage& stage : plan.vmas)
    for (const MapPiece& piece : stage.map) {
      text += show({piece.range});
      if (piece.extends) text += "grows ";
    }
  return text;
}

StagePlan plan(const Space& parent, const Space& child) {
  Result<StagePlan> plan = plan_stage(parent.get(), child.get());
  EXPECT_TRUE(plan.ok());
  return plan.take();
}

TEST(StagePlan, without_a_parent_everything_is_mapped_and_read) {
  Space child;
  child.vma(10, 20);
  child.stored(12, 3, 100);
  child.zero(15, 2);
  StagePlan result = plan_stage({}, child.get()).take();
  EXPECT_EQ(show_maps(result), "10-20 ");
  EXPECT_EQ(show(result.read), "12+3@100 ");
  EXPECT_EQ(show(result.drop) + show(result.zero) + show(result.unmap), "");
}

TEST(StagePlan, a_child_like_its_parent_needs_nothing) {
  Space space;
  space.vma(10, 20);
  space.stored(12, 3, 100);
  StagePlan result = plan(space, space);
  EXPECT_EQ(show_maps(result), "");
  EXPECT_TRUE(result.read.empty() && result.drop.empty() && result.unmap.empty());
  EXPECT_FALSE(result.vmas[0].filled);
}

TEST(StagePlan, only_pages_stored_elsewhere_are_read) {
  Space parent, child;
  parent.vma(10, 20);
  parent.stored(10, 10, 100);
  child.vma(10, 20);
  child.stored(10, 4, 100);
  child.stored(14, 1, 200);
  child.stored(15, 5, 105);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show(result.read), "14+1@200 ");
  EXPECT_EQ(show(result.drop), "");
  EXPECT_TRUE(result.vmas[0].filled);
}

TEST(StagePlan, pages_the_child_does_not_have_are_dropped) {
  Space parent, child;
  parent.vma(10, 20);
  parent.stored(10, 10, 100);
  child.vma(10, 20);
  child.stored(10, 2, 100);
  child.zero(12, 2);
  child.stored(16, 4, 106);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show(result.drop), "12-16 ");
  EXPECT_EQ(show(result.read), "");
}

TEST(StagePlan, a_heap_that_grew_keeps_the_common_part) {
  Space parent, child;
  parent.vma(10, 20);
  parent.stored(10, 10, 100);
  child.vma(10, 30);
  child.stored(10, 10, 100);
  child.stored(20, 5, 300);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show_maps(result), "20-30 grows ");
  EXPECT_EQ(result.vmas[0].map[0].inherited, 10 * kPage);
  EXPECT_EQ(show(result.read), "20+5@300 ");
}

TEST(StagePlan, a_heap_that_shrank_loses_its_end) {
  Space parent, child;
  parent.vma(10, 30);
  parent.stored(10, 20, 100);
  child.vma(10, 20);
  child.stored(10, 10, 100);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show(result.unmap), "20-30 ");
  EXPECT_EQ(show(result.drop) + show_maps(result), "");
}

TEST(StagePlan, what_the_child_does_not_have_is_unmapped) {
  Space parent, child;
  parent.vma(10, 20);
  parent.vma(30, 40);
  child.vma(30, 40);
  EXPECT_EQ(show(plan(parent, child).unmap), "10-20 ");
}

TEST(StagePlan, another_kind_of_mapping_is_replaced) {
  Space parent, child;
  parent.vma(10, 20);
  parent.stored(10, 1, 100);
  child.vma(10, 20, schema::VMA_FILE_PRIVATE).set_file_id(1);
  child.stored(10, 1, 100);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show(result.unmap), "10-20 ");
  EXPECT_EQ(show_maps(result), "10-20 ");
  EXPECT_EQ(show(result.read), "10+1@100 ");
}

TEST(StagePlan, another_place_in_the_file_is_another_mapping) {
  Space parent, child;
  schema::Vma& a = parent.vma(10, 20, schema::VMA_FILE_PRIVATE);
  a.set_file_id(1);
  schema::Vma& b = child.vma(12, 20, schema::VMA_FILE_PRIVATE);
  b.set_file_id(1);
  b.set_file_offset(2 * kPage);
  EXPECT_EQ(show(plan(parent, child).unmap), "10-12 ");
  b.set_file_offset(3 * kPage);
  EXPECT_EQ(show(plan(parent, child).unmap), "10-20 ");
}

TEST(StagePlan, zeroes_over_a_private_file_are_written) {
  Space parent, child;
  parent.vma(10, 20, schema::VMA_FILE_PRIVATE).set_file_id(1);
  parent.stored(12, 1, 100);
  child.vma(10, 20, schema::VMA_FILE_PRIVATE).set_file_id(1);
  child.zero(11, 1);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show(result.zero), "11-12 ");
  EXPECT_EQ(show(result.drop), "12-13 ");
}

TEST(StagePlan, a_mapping_kept_from_forks_is_not_inherited) {
  Space parent, child;
  parent.vma(10, 20).add_advice(MADV_DONTFORK);
  parent.stored(10, 10, 100);
  child.vma(10, 20);
  child.stored(10, 1, 100);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show(result.unmap), "");
  EXPECT_EQ(show_maps(result), "10-20 ");
  EXPECT_EQ(show(result.read), "10+1@100 ");
}

TEST(StagePlan, pages_wiped_on_fork_are_read_again) {
  Space parent, child;
  parent.vma(10, 20).add_advice(MADV_WIPEONFORK);
  parent.stored(10, 10, 100);
  child.vma(10, 20).add_advice(MADV_WIPEONFORK);
  child.stored(10, 1, 100);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show_maps(result) + show(result.drop), "");
  EXPECT_EQ(show(result.read), "10+1@100 ");
}

TEST(StagePlan, advice_that_cannot_be_taken_back_makes_a_new_mapping) {
  Space parent, child;
  parent.vma(10, 20).add_advice(MADV_HUGEPAGE);
  child.vma(10, 20);
  EXPECT_EQ(show(plan(parent, child).unmap), "10-20 ");
}

TEST(StagePlan, a_stack_that_grew_is_made_anew) {
  Space parent, child;
  parent.vma(15, 20).set_grows_down(true);
  parent.stored(19, 1, 100);
  child.vma(10, 20).set_grows_down(true);
  child.stored(19, 1, 100);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show(result.unmap), "15-20 ");
  EXPECT_EQ(show_maps(result), "10-20 ");
  EXPECT_EQ(show(result.read), "19+1@100 ");
}

TEST(StagePlan, one_mapping_made_of_two_keeps_both) {
  Space parent, child;
  parent.vma(10, 20);
  parent.vma(20, 30);
  parent.stored(10, 20, 100);
  child.vma(10, 30);
  child.stored(10, 20, 100);
  StagePlan result = plan(parent, child);
  EXPECT_EQ(show_maps(result) + show(result.unmap) + show(result.read), "");
  EXPECT_TRUE(result.vmas[0].mixed);
}

TEST(StagePlan, a_hole_between_kept_parts_is_mapped) {
  Space parent, child;
  parent.vma(12, 14);
  parent.vma(16, 18);
  child.vma(10, 20);
  EXPECT_EQ(show_maps(plan(parent, child)), "10-12 14-16 18-20 grows ");
}

TEST(StagePlan, the_kernels_own_mappings_are_left_alone) {
  Space parent, child;
  parent.vma(10, 12, schema::VMA_VDSO);
  child.vma(10, 12, schema::VMA_VDSO);
  child.vma(20, 22, schema::VMA_VVAR);
  StagePlan result = plan(parent, child);
  EXPECT_TRUE(result.vmas.empty() && result.unmap.empty());
}

}  // namespace
}  // namespace ncr
