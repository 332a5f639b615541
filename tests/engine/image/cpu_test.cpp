#include "engine/image/cpu.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "arch_current/cpu.h"

namespace ncr {
namespace {

constexpr char kTwoCpus[] =
    "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu sse2 avx2 avx512f "
    "constant_tsc\nbugs\t\t: "
    "spectre_v1\n\nprocessor\t: 1\nmodel name\t: Some CPU\nflags\t\t: fpu sse2 avx2 avx512f\n\n";

schema::Inventory image_of(const schema::Cpu& cpu) {
  schema::Inventory image;
  image.set_arch(arch::kName);
  image.set_page_size(static_cast<uint32_t>(::sysconf(_SC_PAGESIZE)));
  *image.mutable_cpu() = cpu;
  return image;
}

schema::Cpu cpu_with(std::initializer_list<const char*> features, uint64_t xsave = 0) {
  schema::Cpu cpu;
  for (const char* feature : features) cpu.add_features(feature);
  cpu.set_xsave_mask(xsave);
  return cpu;
}

void expect_refused(const Result<>& result, const std::string& why) {
  ASSERT_FALSE(result.ok()) << why;
  EXPECT_EQ(result.error().code(), ErrorCode::kMalformed);
  EXPECT_NE(result.error().text().find(why), std::string::npos) << result.error().text();
}

TEST(cpu, reads_the_features_of_one_cpu) {
  schema::Cpu cpu;
  parse_cpuinfo(kTwoCpus, &cpu);
  EXPECT_EQ(cpu.model(), "Some CPU");
  ASSERT_EQ(cpu.features_size(), 5);
  EXPECT_EQ(cpu.features(3), "avx512f");
}

TEST(cpu, reads_what_an_arm_says) {
  schema::Cpu cpu;
  parse_cpuinfo("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve\n\n", &cpu);
  EXPECT_EQ(cpu.features_size(), 3);
}

TEST(cpu, is_good_enough_for_its_own_images) {
  Result<schema::Cpu> here = describe_this_cpu();
  ASSERT_TRUE(here.ok());
  EXPECT_GT(here.value().features_size(), 0);
  Result<> checked = check_cpu(image_of(here.value()), here.value());
  EXPECT_TRUE(checked.ok()) << checked.error().text();
}

TEST(cpu, refuses_another_architecture_and_another_page_size) {
  schema::Inventory image = image_of({});
  image.set_arch("riscv64");
  expect_refused(check_cpu(image, {}), "riscv64");
  image = image_of({});
  image.set_page_size(65536);
  expect_refused(check_cpu(image, {}), "pages of 65536 bytes");
}

TEST(cpu, names_the_instructions_that_are_missing) {
  if (std::string(arch::kName) != "x86_64") GTEST_SKIP();
  schema::Cpu big = cpu_with({"sse2", "avx2", "avx512f", "avx512vl", "amx_tile"});
  Result<> checked = check_cpu(image_of(big), cpu_with({"sse2", "avx512vl"}));
  expect_refused(checked, "missing here: avx2, avx512f, amx_tile ");
}

TEST(cpu, does_not_mind_flags_that_programs_cannot_see) {
  if (std::string(arch::kName) != "x86_64") GTEST_SKIP();
  schema::Cpu big = cpu_with({"sse2", "constant_tsc", "smep", "erms", "hypervisor"});
  EXPECT_TRUE(check_cpu(image_of(big), cpu_with({"sse2"})).ok());
  EXPECT_TRUE(check_cpu(image_of(cpu_with({"sse2"})), big).ok()) << "a greater CPU";
}

TEST(cpu, names_register_state_that_has_no_place) {
  schema::Cpu avx512 = cpu_with({}, 0xe7);
  expect_refused(check_cpu(image_of(avx512), cpu_with({}, 0x7)), "no place here: AVX-512 ");
  schema::Cpu keys = cpu_with({}, 0x207 | 3u << 17);
  expect_refused(check_cpu(image_of(keys), cpu_with({}, 0x7)), "protection keys (PKRU), AMX");
  EXPECT_TRUE(check_cpu(image_of(cpu_with({}, 0x7)), avx512).ok());
}

TEST(cpu, refuses_register_state_of_another_layout) {
  auto with_offset = [](uint32_t offset) {
    schema::Cpu cpu = cpu_with({}, 0xe7);
    schema::XsaveComponent* component = cpu.add_xsave_layout();
    component->set_index(6);
    component->set_offset(offset);
    component->set_size(512);
    return cpu;
  };
  EXPECT_TRUE(check_cpu(image_of(with_offset(1152)), with_offset(1152)).ok());
  expect_refused(check_cpu(image_of(with_offset(896)), with_offset(1152)),
                 "another way here: AVX-512");
  schema::Cpu unused = with_offset(896);
  unused.set_xsave_mask(0x7);
  EXPECT_TRUE(check_cpu(image_of(unused), with_offset(1152)).ok());
}

}  // namespace
}  // namespace ncr
