// Browsers cannot be downloaded where the reports were made: every project runs Debian's chromium,
// the names of the projects are what the reports show.
module.exports = {
  testDir: './e2e',
  outputDir: './test-results',
  retries: 1,
  workers: 1,
  reporter: [['junit', { outputFile: process.env.JUNIT_OUT || 'junit.xml', includeProjectInTestName: process.env.IN_NAME === '1', embedAnnotationsAsProperties: true }]],
  use: { launchOptions: { executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] }, viewport: { width: 160, height: 90 }, screenshot: { mode: 'only-on-failure' } },
  projects: [
    { name: 'chromium-en', use: { locale: 'en-GB' } },
    { name: 'chromium-de', use: { locale: 'de-DE' } },
    { name: 'firefox-en', use: { locale: 'en-GB' } },
  ],
};
