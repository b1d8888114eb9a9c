*** Settings ***
Suite Setup       Key Server Should Answer

*** Variables ***
${KEY_SERVER}     up

*** Test Cases ***
TC1095 Unsigned Image Is Refused
    No Operation

Signed Image Is Taken
    No Operation

*** Keywords ***
Key Server Should Answer
    Should Be Equal    ${KEY_SERVER}    up    key server not reachable    values=False
