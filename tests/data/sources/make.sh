#!/bin/sh
# Makes the reports under tests/data/<tool>/ again by running the real tools on the sources beside this script.
#
#   unshare -u sh -c 'hostname runner-1; PYTHON=/builds/venv/bin/python NODE_MODULES=/builds/node/node_modules sh make.sh [tool...]'
#
# Needs (as root, in a throw-away container: it writes to /builds, as GitLab runners do):
#   pip install pytest==8.4.2 pytest-rerunfailures==16.7 robotframework==7.5 behave==1.3.3
#   npm install jest@30.5.2 jest-junit@17.0.0 @playwright/test@1.65.1 mocha@10.8.2 mocha-junit-reporter@2.2.1 vitest@4.1.12 @cucumber/cucumber@12.9.0
#   (mocha is held back: mocha-junit-reporter 2.2.1 did not start under the newest one)
#   apt-get install g++ cmake libgtest-dev bats phpunit ant ant-optional junit4 maven-debian-helper libsurefire-java chromium
# Times, dates and durations differ from run to run; the outcomes do not. Most tools exit with 1: tests fail on purpose.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$(dirname "$here")}
PYTHON=${PYTHON:-python3}
SHOP=/builds/qa/web-shop PAY=/builds/qa/payments FW=/builds/platform/firmware
export CI=true LC_ALL=C.UTF-8 TZ=UTC HOME=/home/gitlab-runner USER=gitlab-runner PYTHONDONTWRITEBYTECODE=1
mkdir -p "$HOME"

# fresh DIR SOURCE...: an empty project directory with the sources in it
fresh() { dir=$1; shift; rm -rf "$dir"; mkdir -p "$dir"; for source; do cp -R "$here/$source/." "$dir/"; done; cd "$dir" || exit 1; }
modules() { cp -R "$NODE_MODULES" ./node_modules; }
keep() { mkdir -p "$out/$(dirname "$2")"; cp "$1" "$out/$2"; }

make_pytest() {
  fresh $SHOP pytest/web-shop
  "$PYTHON" -m pytest -q -o junit_logging=all --junit-xml=api.xml tests/api/test_checkout.py tests/api/test_orders.py; keep api.xml pytest/api.xml
  for attempt in 1 2; do
    SMOKE_ATTEMPT=$attempt "$PYTHON" -m pytest -q --junit-xml=smoke.xml tests/api/test_smoke.py; keep smoke.xml pytest/api-attempt-$attempt.xml
  done
  "$PYTHON" -m pytest -q --junit-xml=subset.xml tests/api/test_checkout.py -k "pay or voucher" -o junit_family=legacy -o junit_logging=no --color=yes
  keep subset.xml pytest/api-legacy.xml
  fresh $PAY pytest/payments
  for shard in 1 2 3; do
    "$PYTHON" -m pytest -q --shard $shard/3 --junit-xml=shard.xml; keep shard.xml pytest/shard-$shard.xml
  done
}
make_pytest_rerunfailures() {
  fresh $PAY pytest-rerunfailures
  "$PYTHON" -m pytest -q --reruns 2 --junit-xml=soak.xml; keep soak.xml pytest-rerunfailures/soak.xml
}
make_robot() {
  fresh $FW robot
  attempt=1
  for server in down up; do
    "$PYTHON" -m robot --name Controller --variable KEY_SERVER:$server --log NONE --report NONE --xunit xunit.xml suites
    keep xunit.xml robot/hil-attempt-$attempt.xml; attempt=2
  done
}
make_behave() {
  fresh $PAY behave
  "$PYTHON" -m behave -q --junit --junit-directory reports; keep reports/TESTS-settlement.xml behave/TESTS-settlement.xml
}
make_jest() {
  fresh $SHOP jest; modules
  JEST_JUNIT_CLASSNAME='{classname}' JEST_JUNIT_TITLE='{title}' JEST_JUNIT_ANCESTOR_SEPARATOR=' › ' npx jest cart price broken; keep junit.xml jest/unit.xml
  JEST_JUNIT_REPORT_TEST_SUITE_ERRORS=false npx jest cart broken; keep junit.xml jest/unit-load-failure-hidden.xml
  npx jest terminal; keep junit.xml jest/unit-control-chars.xml
}
make_node() {
  fresh $SHOP node
  node --test --test-reporter=junit --test-reporter-destination=junit.xml test/; keep junit.xml node/price-rules.xml
}
make_playwright() {
  fresh $SHOP playwright; modules
  rm -rf "$out/playwright/test-results"
  for project in chromium-en chromium-de firefox-en; do
    report=$project.xml; [ $project != firefox-en ] || report=reports/e2e/$project.xml  # its attachments are ../../test-results/...
    JUNIT_OUT=$report npx playwright test --project=$project; keep $report playwright/$report
    for png in $(find test-results -name '*.png'); do keep $png playwright/$png; done
  done
  IN_NAME=1 JUNIT_OUT=search.xml npx playwright test --project=chromium-en --project=chromium-de -g finds; keep search.xml playwright/search-two-projects.xml
}
make_mocha() {
  fresh $SHOP mocha; modules
  npx mocha --reporter mocha-junit-reporter --reporter-options mochaFile=junit.xml test/admin.js; keep junit.xml mocha/admin.xml
  npx mocha --reporter xunit --reporter-options output=xunit.xml test/admin.js; keep xunit.xml mocha/admin-xunit.xml
}
make_vitest() {
  fresh $SHOP vitest; modules
  npx vitest run --reporter=junit --outputFile=junit.xml; keep junit.xml vitest/widget.xml
}
make_cucumber() {
  fresh $SHOP cucumber; modules
  npx cucumber-js features --require 'features/steps/*.js' --format junit:junit.xml --format summary; keep junit.xml cucumber/returns.xml
}
make_gtest() {
  fresh $FW gtest
  cmake -S . -B build >/dev/null && cmake --build build >/dev/null
  ./build/sensor_test --gtest_output=xml:sensor.xml; keep sensor.xml gtest/sensor.xml
}
make_ctest() {
  for board in rev-c rev-d; do
    fresh $FW ctest
    cmake -S . -B build -DBOARD=$board >/dev/null
    ctest --test-dir build --output-junit "$PWD/ctest.xml"; keep ctest.xml ctest/board-$board.xml
  done
}
make_bats() {
  fresh $FW bats
  bats --report-formatter junit --output . .
  sleep 2  # bats 1.8 returns before its formatter has written the end: bats/report-cut.xml was copied without this line
  keep report.xml bats/report.xml
}
make_phpunit() {
  fresh $SHOP phpunit
  phpunit --do-not-cache-result --log-junit junit.xml tests; keep junit.xml phpunit/coupons.xml
}
make_surefire() {
  fresh $PAY surefire
  MAVEN_OPTS='-Duser.home=/home/gitlab-runner -Duser.name=gitlab-runner -Dos.version=6.1.0' mvn -B -o -s /etc/maven/settings-debian.xml test
  for class in CaptureTest FeeTest; do keep target/surefire-reports/TEST-com.example.payments.$class.xml surefire/TEST-com.example.payments.$class.xml; done
}
make_ant() {
  fresh $PAY surefire ant
  ANT_OPTS='-Duser.home=/home/gitlab-runner -Duser.name=gitlab-runner -Dos.version=6.1.0' ant
  for class in CaptureTest FeeTest; do keep reports/TEST-com.example.payments.$class.xml ant/TEST-com.example.payments.$class.xml; done
}

[ $# -gt 0 ] || set -- pytest pytest_rerunfailures robot behave jest node playwright mocha vitest cucumber gtest ctest bats phpunit surefire ant
for tool; do echo "== $tool"; make_$tool; done
