# Keeps a large hash, a child behind a socket pair, alarms and a sorted list; checks itself and counts rounds in the file `status`.
use strict;
use warnings;
use IO::Handle;
use Socket;
use Time::HiRes qw(usleep setitimer ITIMER_REAL);

my %census;
my $alarms = 0;
my @problems;
$SIG{ALRM} = sub { $alarms++ };
setitimer(ITIMER_REAL, 0.01, 0.01);

socketpair(my $near, my $far, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!";
$near->autoflush(1);
$far->autoflush(1);
my $child = fork() // die "fork: $!";
if ($child == 0) {
  close $near;
  while (defined(my $line = <$far>)) { print $far scalar reverse($line =~ s/\n//r), "\n" }
  exit 0;
}
close $far;

for (my $round = 1;; $round++) {
  $census{"town$round"} = $round * 3;
  print $near "abc$round\n";
  my $answer;
  do { $answer = <$near> } until defined $answer;
  push @problems, "the child said $answer" if $answer ne reverse("abc$round") . "\n";
  my $probe = 1 + int(rand($round));
  push @problems, "town$probe lost its people" if $census{"town$probe"} != $probe * 3;
  open(my $file, '>', 'status.new') or die "status: $!";
  print $file "$round $alarms @problems\n";
  close $file;
  rename 'status.new', 'status';
  usleep(2000);
}
